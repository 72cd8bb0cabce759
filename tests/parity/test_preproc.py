"""Preparation of portraits against the released code's recorded numbers (folder `preproc`)."""

import numpy as np
import pytest

from emoji_jax.animation import to_unit
from emoji_jax.images import clip_pixels, letterbox

SHAPES = ["wide", "tall", "same", "odd"]


@pytest.fixture(scope="module")
def recorded(golden) -> dict[str, np.ndarray]:
    path = golden / "preproc" / "preproc.npz"
    if not path.exists():
        pytest.skip(f"{golden} holds no recorded preparation; give such a folder with --golden")
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("shape", SHAPES)
def test_letterbox(recorded, shape):
    width, height = recorded[f"{shape}/WH"].tolist()
    found = letterbox(recorded[f"{shape}/in"], (height, width))
    np.testing.assert_array_equal(found, recorded[f"{shape}/ref"])


@pytest.mark.parametrize("shape", SHAPES)
def test_clip_pixels(recorded, shape):
    found = clip_pixels(recorded[f"{shape}/ref"], 224)
    expected = recorded[f"{shape}/clip"].transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_levels_lost_on_the_way_to_floats(recorded):
    levels = np.arange(256, dtype=np.uint8)
    picture = np.stack([levels] * 3, -1)[None]
    for release, expected in ((True, recorded["ref_roundtrip"]), (False, levels)):
        unit = to_unit(picture, release=release)
        found = np.round((unit.astype(np.float64) + 1) * 127.5)
        np.testing.assert_array_equal(found, np.stack([expected] * 3, -1)[None])
