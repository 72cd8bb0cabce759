"""Disks that are full, can't be written, or are slow: nothing is lost, and one line says why."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emoji_jax.data import synthetic
from tests import small_disk
from tests.data.preparing import ROOT, command
from tests.training.test_run import arguments, losses

# A folder that even root can't write to, for the rest of the arguments.
_READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; shift; exec "$@"'
# Twenty milliseconds for everything that is opened, written or made safe.
_CALLS = "openat,write,pwrite64,fsync,fdatasync,rename"
_SLOW = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={_CALLS}"]
_SLOW += ["-e", f"inject={_CALLS}:delay_enter=20000"]


def sampling(out: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "emoji_jax.sample", "--out", str(out / "out.mp4")]
    return [*program, "--config.sampler.steps=2", *options]


def run(program: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    return subprocess.run(program, check=False, **options)


@pytest.mark.heavy
@small_disk.needed
@pytest.mark.parametrize("kind", ["training", "preparation", "sampling"])
def test_folder_that_is_read_only(videos, tmp_path, kind):
    place = tmp_path / "place"
    place.mkdir()
    programs = {
        "training": arguments(place / "run"),
        "preparation": command(videos, place / "out"),
        "sampling": sampling(place, "--frames=4"),
    }
    done = run(["unshare", "-rm", "bash", "-ec", _READ_ONLY, "-", str(place), *programs[kind]])
    assert done.returncode == 2, done.stderr
    told = ("Read-only file system", "no permission to write")
    assert any(reason in done.stderr.splitlines()[-1] for reason in told)
    assert "Traceback" not in done.stderr and not list(place.iterdir())


@pytest.mark.heavy
@small_disk.needed
def test_full_disk_while_sampling(tmp_path):
    """Where frames in work don't fit, where the video doesn't, and then both do."""
    motion = tmp_path / "motion.npz"
    synthetic.motion("laugh", 60).save(motion)
    disk = tmp_path / "disk"
    program = sampling(disk, "--resume", f"--driving={motion}")
    whole = run(sampling(tmp_path, f"--driving={motion}"))
    assert whole.returncode == 0, whole.stderr
    latents = 60 * 8 * 8 * 16 * 4 // 1024  # at most
    codes, said = small_disk.run(disk, tmp_path / "copies", [16, latents, 2**13], program)
    assert codes[0] == 2 and codes[-1] == 0, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert all("No space left on device" in error for error in errors)
    assert len(errors) == len(codes) - codes.count(0) and "Traceback" not in said
    assert not (tmp_path / "copies" / "16" / "out.mp4").exists()
    last = tmp_path / "copies" / str(2**13)
    assert [path.name for path in last.iterdir()] == ["out.mp4"]
    assert (last / "out.mp4").read_bytes() == (tmp_path / "out.mp4").read_bytes()


@pytest.mark.heavy
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace, which delays system calls")
def test_slow_storage(tmp_path):
    options = ("--config.train.steps=6",)
    for name, before in (("quick", []), ("slow", _SLOW)):
        done = run([*before, *arguments(tmp_path / name, *options)])
        assert done.returncode == 0, done.stderr
        done = run([*before, *sampling(tmp_path / name, "--frames=6")])
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "slow") == losses(tmp_path / "quick")
    made = [(tmp_path / name / "out.mp4").read_bytes() for name in ("quick", "slow")]
    assert made[0] == made[1]


@pytest.mark.heavy
@small_disk.needed
def test_full_disk_while_training(monkeypatch, tmp_path):
    """Nothing that was saved is lost, and with more space the run goes on."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    options = ["--config.train.steps=8", "--config.checkpoint.keep=4"]
    subprocess.run(arguments(tmp_path / "alone", *options), check=True, capture_output=True)

    def kilobytes(folder: str) -> int:
        files = (tmp_path / "alone" / folder).rglob("*")
        return sum(-(-p.stat().st_size // 4096) * 4 + 4 for p in files)

    one = kilobytes("checkpoints/2") + kilobytes("frozen")
    sizes = [one // 2, one * 2, 2**18]
    codes, said = small_disk.run(
        tmp_path / "disk", tmp_path / "copies", sizes, arguments(tmp_path / "disk", *options)
    )
    assert codes == [2, 2, 0], said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "Traceback" not in said, said
    assert all("the disk is full" in error for error in errors)
    assert "there is none yet" in errors[0]
    assert re.search(r"last good checkpoint is step [246]", errors[1])
    assert losses(tmp_path / "copies" / str(sizes[-1])) == losses(tmp_path / "alone")
