"""Fifty times kill -9 at a random moment; what is begun anew ends as if it had been left alone.

`pytest --heavy tests/faults/test_kills.py` prints what was killed, when, and what was there.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoji_jax.data import synthetic
from emoji_jax.video import read_video
from tests.data import preparing
from tests.data.preparing import ROOT
from tests.faults.test_processes import weights
from tests.training.test_run import arguments, losses

pytestmark = pytest.mark.heavy


def end_at(command: Sequence[str], seconds: float, *, all: bool) -> bool:
    """Kills a command after a while, and what it started or not; whether it was not over by then.

    A command that ended by itself did so without a mistake.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = tempfile.TemporaryFile("w+")
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL, "stderr": said}
    with said, subprocess.Popen(command, start_new_session=True, **options) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            if all:
                os.killpg(run.pid, signal.SIGKILL)
            run.kill()
            run.wait()
        said.seek(0)
        assert run.returncode in (0, -signal.SIGKILL), said.read()
    return run.returncode != 0


def assert_same_after_kills(
    capsys: Any,
    what: str,
    times: int,
    command: Callable[[Path], Sequence[str]],
    look: Callable[[Path], str],
    result: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    """Kills a command so many times; each time one was not killed, its result is as it should be.

    Args:
      capsys: pytest's, around which the table is printed.
      what: its name in the table.
      times: that it is killed.
      command: of the folder that it writes into; the same one goes on.
      look: how far it is.
      result: what it has made; compared with `==` to that of a run that was left alone.
      tmp_path: for both.
    """
    alone, out = tmp_path / "alone", tmp_path / "out"
    end_at(command(alone), 600, all=True)  # what it compiles is kept for the next ones
    shutil.rmtree(alone)
    start = time.monotonic()
    assert not end_at(command(alone), 600, all=True)
    whole, expected = time.monotonic() - start, result(alone)
    chance, rows, complete = random.Random(what), [], 0

    def finish() -> None:
        nonlocal complete
        assert not end_at(command(out), 600, all=True)
        assert result(out) == expected
        shutil.rmtree(out)
        complete += 1

    while len(rows) < times:
        moment, everything = chance.uniform(0, whole), chance.random() < 0.5
        if not end_at(command(out), moment, all=everything):
            finish()
            continue
        rows.append(f"| {what} | {moment:.1f} | {look(out) if out.exists() else 'nothing'} |")
        if chance.random() < 0.2:
            finish()
    finish()
    with capsys.disabled():
        print(f"\n{what}, alone {whole:.1f} s; as if never killed: {complete} of {complete} times")
        print("\n".join(rows))


def test_training(tmp_path, capsys):
    """Twenty times, of a stage 1 that saves every other step."""

    def look(run: Path) -> str:
        saved = sorted(int(p.name) for p in (run / "checkpoints").glob("*") if p.name.isdigit())
        unfinished = [p for p in (run / "checkpoints").glob("*") if not p.name.isdigit()]
        return f"saved: {saved or 'nothing'}{', one half-written' * bool(unfinished)}"

    def result(run: Path) -> Any:
        arrays = [weights(run, name) for name in ("unet", "appearance", "landmark_encoder")]
        return losses(run), [{n: x.tobytes() for n, x in each.items()} for each in arrays]

    options = ("--config.train.steps=60", "--config.checkpoint.every=2")
    assert_same_after_kills(
        capsys, "training", 20, lambda run: arguments(run, *options), look, result, tmp_path
    )


def test_preparation(videos, tmp_path, capsys):
    """Fifteen times, with two worker processes."""

    def look(out: Path) -> str:
        return f"{len(list(out.glob('parts/*/*.part')))} of 15 inputs"

    def command(out: Path) -> list[str]:
        return preparing.command(videos, out, *preparing.ALL, workers=2)

    pytest.importorskip("apache_beam")
    assert_same_after_kills(capsys, "preparation", 15, command, look, preparing.dataset, tmp_path)


def test_sampling(tmp_path, capsys):
    """Fifteen times, of a video of several stretches, by the bundled checkpoint."""
    driver = tmp_path / "motion.npz"
    synthetic.motion("laugh", 40).save(driver)

    def command(out: Path) -> list[str]:
        out.mkdir(exist_ok=True)
        options = ("--resume", "--config.sampler.steps=4", "--driving", str(driver))
        program = [sys.executable, "-m", "emoji_jax.sample", *options]
        return [*program, "--out", str(out / "out.mp4")]

    def look(out: Path) -> str:
        state = out / ".out.mp4.work" / "state.json"
        return f"{json.loads(state.read_text())['done'] if state.exists() else 0} batches of frames"

    def result(out: Path) -> Any:
        left = sorted(path.name for path in out.iterdir())
        return left, np.stack(read_video(out / "out.mp4")[0]).tobytes()

    assert_same_after_kills(capsys, "sampling", 15, command, look, result, tmp_path)
