"""The Python API as its documentation shows it."""

import doctest
import shutil
import subprocess
import sys
import time
from pathlib import Path

import emoji_jax
from emoji_jax import animator


def test_the_examples_in_the_docstrings(landmark_model, tmp_path, monkeypatch):
    shutil.copy(Path(emoji_jax.__file__).parent / "examples" / "portrait.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(animator)
    assert found.attempted > 5 and not found.failed
    assert (tmp_path / "wink.mp4").stat().st_size > 1000


def test_importing_costs_nothing():
    code = "import emoji_jax, sys; assert not {'jax', 'numpy', 'PIL'} & set(sys.modules)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    print(f"{time.perf_counter() - start:.2f} s, the interpreter's own start included")


def test_progress_is_told(landmark_model):
    told = []
    made = emoji_jax.Animator.load()(
        Path(emoji_jax.__file__).parent / "examples" / "portrait.png",
        "expression:wink",
        moving=emoji_jax.MotionConfig(frames=2),
        sampler=emoji_jax.SamplerConfig(steps=2),
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert len(list(made)) == 2
    assert ("denoising", 2, 2) in told and ("decoding", 2, 2) in told


def test_a_script_ends_in_silence(landmark_model):
    code = (
        "from emoji_jax import Animator; "
        "Animator.load().detector.detect(__import__('numpy').zeros((64, 64, 3), 'uint8'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exception ignored" not in told.stderr
