"""A folder with inputs of every kind, and what `python -m emoji_jax.prepare` makes of it."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from tests.data import media, preparing


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """One input of every kind, good and bad."""
    media.need_model()
    root = tmp_path_factory.mktemp("videos")
    frames = media.portraits(12)
    media.save(root / "Ирина" / "first take.mp4", frames)
    media.save(root / "Ирина" / "second.gif", frames[:6])
    media.save(root / "folder" / "take 1", frames[:6])
    times = np.cumsum([0.04, 0.1, 0.02] * 4)
    media.save(root / "uneven.mp4", frames, times=times)
    media.save(root / "short.mp4", frames[:3])
    media.save(root / "nobody.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 6)
    media.save(root / "two.mp4", [np.concatenate([f, f[:, ::-1]], axis=1) for f in frames[:6]])
    media.save(root / "cut.mp4", [*frames[:6], *(255 - f for f in frames[:6]), *frames[6:]])
    whole = (root / "uneven.mp4").read_bytes()
    (root / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
    (root / "empty.mp4").touch()
    (root / "notes.txt").write_text("Tuesday: nobody came.\n")
    (root / "名前 🙂").mkdir()
    (root / "名前 🙂" / "two\nlines.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with open(os.fsencode(root) + b"/no text \xff.mp4", "wb") as file:
        file.write(whole)
    (root / "no pictures").mkdir()
    return root


@pytest.fixture(scope="session")
def prepared(videos, tmp_path_factory) -> Path:
    """The dataset that one run makes of them."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    done = preparing.call(videos, out, *preparing.ALL)
    assert done.returncode == 0, done.stderr
    return out
