"""What the command lines share, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PORTRAIT = Path(__file__).parent / "golden" / "landmarks" / "astronaut.jpg"


def call(command: str, *options: str) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", f"emoji_jax.{command}", *options]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["--help", "--helpshort", "-helpfull"])
def test_help_is_no_failure(option):
    done = call("prepare", option)
    assert (done.returncode, done.stderr) == (0, "") and "--videos" in done.stdout


def test_unknown_expressions_are_told_before_weights_are_read(tmp_path):
    options = ["--ref", str(PORTRAIT), "--driving=expression:winkk", "--checkpoint", str(tmp_path)]
    done = call("sample", *options, f"--out={tmp_path / 'out.mp4'}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "no built-in expression 'winkk'; expected one of" in done.stderr


def test_ctrl_c_is_no_mistake():
    program = (
        "from emoji_jax import command\ndef main(): raise KeyboardInterrupt\ncommand.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
