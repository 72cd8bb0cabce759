"""Synthetic people in a prepared dataset."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emoji_jax.data import clips, synthetic
from emoji_jax.data.crop import CropConfig
from emoji_jax.data.cutting import PrepareConfig, make_clips
from emoji_jax.data.datasets import ReaderConfig, readers
from emoji_jax.data.prepare import find_units
from emoji_jax.data.sources import Prepared
from emoji_jax.errors import UserError
from tests.data import media

ROOT = Path(__file__).parent.parent.parent


def no_detector(picture):
    raise AssertionError("nothing has to be detected")


def test_units_are_people_with_several_clips():
    units = find_units(None, "synthetic", ReaderConfig(people=3, seed=5))
    assert len(units) == 3 * synthetic.CLIPS_PER_IDENTITY == len({unit.name for unit in units})
    assert len({unit.identity for unit in units}) == 3
    other = readers()["synthetic"](Path(), ReaderConfig(people=3, seed=6))
    assert not {unit.identity for unit in units} & {unit.identity for unit in other}


def test_a_clip_is_the_rigs_with_its_own_landmarks():
    unit = find_units(None, "synthetic", ReaderConfig(people=1, poses=3))[2]
    account = {}
    config = PrepareConfig(crop=CropConfig(size=64), quality=95)
    (clip,) = make_clips(unit, no_detector, config, account)
    pictures, landmarks = synthetic.clip(0, 2, 3, (64, 64))
    assert account == {"read": 3, "dropped": {}}
    np.testing.assert_array_equal(clip.landmarks.points, landmarks.points)
    np.testing.assert_array_equal(clip.landmarks.blendshapes, landmarks.blendshapes)
    assert clip.detected.all() and clip.box == (0, 0, 64)
    seen = np.stack([clips.decode_picture(frame) for frame in clip.frames]).astype(float)
    assert np.abs(seen - pictures).mean() < 4  # JPEG


def test_prepared(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    media.need_model()  # which is fetched although nothing is detected
    program = [sys.executable, "-m", "emoji_jax.prepare", "--dataset=synthetic", "--workers=0"]
    options = ["--config.reader.people=1", "--config.reader.poses=2", "--config.crop.size=64"]
    done = subprocess.run(
        [*program, f"--out={tmp_path}", *options],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [line["frames"] for line in lines] == [2] * synthetic.CLIPS_PER_IDENTITY
    source = Prepared(tmp_path, "train")
    _, landmarks = synthetic.clip(0, 1, 2, (64, 64))
    np.testing.assert_array_equal(source[1].points(np.arange(2)), landmarks.points)


def test_attempts_that_there_must_be():
    with pytest.raises(UserError, match="attempts=0"):
        PrepareConfig(attempts=0)
