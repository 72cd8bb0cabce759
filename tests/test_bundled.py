"""The checkpoint that comes with the package: what a newcomer's first command does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoji_jax import checkpoint
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.landmarks import Detector
from emoji_jax.metrics.landmarks import correlation, signals
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.video import open_video

ROOT = Path(__file__).parent.parent
WEIGHTS = checkpoint.locate("tiny")


def test_it_is_small_and_the_preset():
    """30 MB are what a repository bears."""
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) < 30e6
    told = json.loads((WEIGHTS / "config.json").read_text())
    assert told["preset"] == "tiny" and told["size"] == [128, 128]
    expected = EmojiConfig.tiny()
    assert Animator.load("tiny").config.unet == expected.unet


@pytest.mark.usefixtures("landmark_model")
def test_sample_without_flags(tmp_path):
    """An example portrait laughs, and it is told where it went."""
    done = subprocess.run(
        [sys.executable, "-m", "emoji_jax.sample"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "out.mp4: 50 frames\n"), done.stderr
    assert "portrait.png is moved by expression:laugh" in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["out.mp4"]
    frames = np.stack([frame for frame, _ in open_video(tmp_path / "out.mp4")])
    assert len(frames) == 50 and np.abs(np.diff(frames.astype(int), axis=0)).max() > 50


@pytest.mark.usefixtures("landmark_model")
def test_a_portrait_follows():
    """A face is found in what it makes, and turns as the driver's does."""
    turning = synthetic.motion("head_shake", 16)
    portrait = ROOT / "emoji_jax" / "examples" / "portrait.png"
    frames = list(Animator.load("tiny")(portrait, turning))
    with Detector() as detector:
        found = [detector.detect(frame) for frame in frames]
    kept = [i for i, face in enumerate(found) if face]
    assert len(kept) >= 14
    yaw = np.array([signals(found[i])["yaw"][0] for i in kept])
    assert correlation(yaw, signals(turning)["yaw"][kept], 1.0) > 0.6
