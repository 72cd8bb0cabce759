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


@pytest.mark.parametrize("first", ["", "import jax; "])
def test_what_is_compiled_is_kept(tmp_path, monkeypatch, first):
    """In the cache, unless it is told to be elsewhere or nowhere."""
    program = (
        f"{first}from emoji_jax import command\n"
        "def main():\n    import jax; jax.jit(lambda x: x + 1)(1.0)\ncommand.run(main)"
    )
    monkeypatch.setenv("EMOJI_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    for place, told in (("cache/compiled", None), ("own", str(tmp_path / "own")), ("none", "")):
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        if told is not None:
            monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", told)
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
        kept = [path for path in (tmp_path / place).rglob("*") if path.is_file()]
        assert bool(kept) == (place != "none")


def test_ctrl_c_is_no_mistake():
    program = (
        "from emoji_jax import command\ndef main(): raise KeyboardInterrupt\ncommand.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_too_little_memory_is_told_with_what_needs_less():
    program = (
        "import jax, jax.numpy as jnp\n"
        "from emoji_jax import command\n"
        "def main(): jax.jit(lambda: jnp.ones((2**20, 2**22)).cumsum())().block_until_ready()\n"
        "command.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "sampler.decode_batch=1" in done.stderr.splitlines()[-1]
    assert "error: too little memory: RESOURCE_EXHAUSTED" in done.stderr


def test_a_cache_that_can_not_be_written_is_no_failure(tmp_path, monkeypatch):
    program = (
        "from emoji_jax import command\n"
        "def main():\n    import jax; print(jax.jit(lambda x: x + 1)(1.0))\ncommand.run(main)"
    )
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "2.0\n")


def test_a_variable_that_is_no_number_is_one_line(monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "soon")
    done = subprocess.run(
        [sys.executable, "-m", "emoji_jax.sample"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "SECS is 'soon'; expected seconds" in done.stderr


def test_what_the_file_system_refuses_is_one_line(tmp_path):
    """Of a folder inside a file."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "emoji_jax.batch", f"--out={tmp_path / 'file' / 'results'}"]
    (tmp_path / "pairs.csv").write_text("ref,driving\na.png,expression:wink\n")
    done = subprocess.run(
        [*command, f"--pairs={tmp_path / 'pairs.csv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "Not a directory" in done.stderr
