"""Preparation that is killed and started again makes what a run left alone makes, to the byte."""

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import media
from tests.data.preparing import ALL, ROOT, call, command, dataset, leftovers

pytest.importorskip("tensorflow_datasets")
BEAM = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam"
)


@pytest.fixture(scope="module", autouse=True)
def _model():
    media.need_model()


def done(out: Path) -> int:
    """How many inputs are done."""
    return len(list(out.glob("parts/*/*.part")))


def struck(
    videos: Path, out: Path, workers: int, until: Callable[[subprocess.Popen], None], *, all: bool
) -> bool:
    """Kills a run at some moment, its workers too or not; whether it was not over by then."""
    program = command(videos, out, *ALL, workers=workers)
    options = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, start_new_session=True, **options) as run:
        until(run)
        if all and run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.kill()
    assert run.returncode in (0, -signal.SIGKILL)
    return run.returncode != 0


def check_the_end(videos: Path, out: Path, workers: int, wanted: Path) -> None:
    last = call(videos, out, *ALL, workers=workers)
    assert last.returncode == 0, last.stderr
    assert dataset(out) == dataset(wanted)
    again = call(videos, out, *ALL, workers=workers)
    assert "15 inputs, 0 to do" in again.stderr
    assert dataset(out) == dataset(wanted) and not leftovers(out)


def test_killed_runs_go_on(videos, prepared, tmp_path):
    out = tmp_path / "out"
    for target in (1, 5, 10):

        def reached(run: subprocess.Popen, target: int = target) -> None:
            while done(out) < target and run.poll() is None:
                time.sleep(0.005)

        assert struck(videos, out, 0, reached, all=False)
        assert target <= done(out) < 15
    check_the_end(videos, out, 0, prepared)


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=BEAM)])
def test_killed_at_twenty_random_moments(videos, prepared, tmp_path, workers, capsys):
    chance = random.Random(7 + workers)
    out, moments = tmp_path / "out", []
    start = time.monotonic()
    call(videos, tmp_path / "alone", *ALL, workers=workers)
    whole = time.monotonic() - start
    assert dataset(tmp_path / "alone") == dataset(prepared)
    while len(moments) < 20:
        moment = chance.uniform(0, whole)

        def passed(run: subprocess.Popen, moment: float = moment) -> None:
            with_limit(run, moment)

        if struck(videos, out, workers, passed, all=chance.random() < 0.5):
            moments.append((round(moment, 2), done(out)))
        else:
            assert dataset(out) == dataset(prepared)
        if done(out) == 15 and chance.random() < 0.5:
            # The next ones shall have something to do.
            check_the_end(videos, out, workers, prepared)
            shutil.rmtree(out)
    check_the_end(videos, out, workers, prepared)
    with capsys.disabled():
        print(f"\nalone: {whole:.1f} s; killed after seconds, with inputs done: {moments}")


def with_limit(run: subprocess.Popen, seconds: float) -> None:
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return


# Ends itself before the n-th step on the disk: first with one input, then with two more.
_STEPS = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from array_record.python import array_record_module
from emoji_jax.data import clips, shards
from emoji_jax.data.parts import Part, PartWriter, locked

layout = clips.features()
out, before = Path(sys.argv[1], "out"), Path(sys.argv[1], "before")
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}

def make(inputs):
    with locked(out):
        parts = []
        for i in range(inputs):
            path = out / "parts" / "00" / f"{i}.part"
            if Part.read(path) is None:
                with PartWriter(path) as part:
                    for n in range(2):
                        part.add(bytes([16 * i + n]) * 3000)
                    part.finish({"input": str(i), "reason": ""})
            parts.append(Part.read(path))
        splits = ["train", "train", "test"][:inputs]
        shards.finish(out, parts, splits, "portraits", 8000, layout)

def in_child(inputs, last=0):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = itertools.count(1)
    def strike(event, _):
        if event in CHANGES and next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(strike)
    make(inputs)
    os._exit(0)

def dataset():
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name[0] != "."}

def clips_of(files):
    return {name: data for name, data in files.items() if name != "report.jsonl"}

assert in_child(1) == 0
old = dataset()
shutil.copytree(out, before)
assert in_child(3) == 0
new = dataset()
assert len(clips_of(old)) == 3 and len(clips_of(new)) == 5
for step in itertools.count(1):
    shutil.rmtree(out)
    shutil.copytree(before, out)
    code = in_child(3, step)
    found = dataset()
    assert found["report.jsonl"] in (old["report.jsonl"], new["report.jsonl"])
    if "dataset_info.json" in found:
        assert clips_of(found) in (clips_of(old), clips_of(new)), (step, sorted(found))
    if code == 0:
        break
    assert code == -signal.SIGKILL
    assert in_child(3) == 0 and dataset() == new, step
    assert not [p for p in out.rglob(".*") if p.name != ".lock"], step
print(step)
"""


def test_killed_at_every_step_on_the_disk(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", _STEPS, str(tmp_path)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 40


@BEAM
def test_worker_processes_make_the_same(videos, prepared, tmp_path):
    run = call(videos, tmp_path / "out", *ALL, workers=2)
    assert run.returncode == 0, run.stderr
    assert "INFO" not in run.stderr
    assert dataset(tmp_path / "out") == dataset(prepared)
    full = call(videos, tmp_path / "full", *ALL, workers=2, limit=8)
    assert full.returncode == 2 and full.stderr.splitlines()[-1].startswith("error: ")
