"""A clock that is set back and forth by minutes decides nothing.

Hours at once may be taken for the end of a timeout, of Orbax or of a collective, and end a run,
which is then begun anew.
"""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoji_jax.video import read_video
from tests.data import preparing
from tests.faults.test_processes import OPTIONS, finish, start, steps
from tests.faults.test_storage import run, sampling
from tests.training.test_run import arguments, losses

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def jumping(tmp_path_factory) -> Path:
    """A library that makes the clock jump."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def test_it_jumps(jumping):
    script = "import time\nfor _ in range(20): print(time.time()); time.sleep(0.1)"
    before = ["env", f"LD_PRELOAD={jumping}", sys.executable, "-c", script]
    times = [float(x) for x in run(before).stdout.split()]
    later = [b - a for a, b in itertools.pairwise(times)]
    assert min(later) < -60 and max(later) > 60


def test_training_and_sampling(jumping, tmp_path):
    for name, before in (("even", []), ("jumping", ["env", f"LD_PRELOAD={jumping}"])):
        done = run([*before, *arguments(tmp_path / name, "--config.train.steps=6")])
        assert done.returncode == 0, done.stderr
        assert run([*before, *sampling(tmp_path / name, "--frames=6")]).returncode == 0
    assert losses(tmp_path / "jumping") == losses(tmp_path / "even")
    made = [read_video(tmp_path / name / "out.mp4")[0] for name in ("even", "jumping")]
    np.testing.assert_array_equal(*made)


def test_preparation(jumping, videos, prepared, tmp_path):
    program = preparing.command(videos, tmp_path / "out", *preparing.ALL)
    done = run(["env", f"LD_PRELOAD={jumping}", *program])
    assert done.returncode == 0, done.stderr
    assert preparing.dataset(tmp_path / "out") == preparing.dataset(prepared)


def test_one_process_of_two(jumping, tmp_path):
    even, one = tmp_path / "even", tmp_path / "one"
    assert finish(start(even, 2, *OPTIONS, steps(12))) == [0, 0]
    preloaded = {"LD_PRELOAD": str(jumping)}
    assert finish(start(one, 2, *OPTIONS, steps(12), last=preloaded)) == [0, 0]
    assert losses(one) == losses(even)
