"""A portrait moved with its landmarks."""

import numpy as np
import pytest

from emoji_jax.data import synthetic
from emoji_jax.landmarks import warp

FRAMES, LANDMARKS = synthetic.clip(3, 0, 12, (96, 96))
POINTS = LANDMARKS.pixels[..., :2].astype(np.float64)


def test_at_rest_it_is_the_portrait():
    made = warp(FRAMES[0], POINTS[0], POINTS[:1])
    np.testing.assert_array_equal(made[0], FRAMES[0])


def test_a_face_is_carried_along_and_the_border_stays():
    moved = POINTS[:1] + np.array([5.0, -3.0])
    (made,) = warp(FRAMES[0], POINTS[0], moved)
    x, y = POINTS[0].mean(0).round().astype(int)
    face = (slice(y - 8, y + 8), slice(x - 8, x + 8))
    there = (slice(y - 11, y + 5), slice(x - 3, x + 13))
    assert np.abs(made[there].astype(int) - FRAMES[0][face]).mean() < 4
    assert np.abs(made[:, :2].astype(int) - FRAMES[0][:, :2]).mean() < 4


def test_is_nearer_to_the_other_frames_than_the_portrait():
    made = warp(FRAMES[0], POINTS[0], POINTS[1:]).astype(int)
    rest = np.abs(FRAMES[1:].astype(int) - FRAMES[0]).mean()
    assert np.abs(FRAMES[1:] - made).mean() < 0.9 * rest


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_points_that_are_nowhere(value):
    points = POINTS[:1].copy()
    points[0, ::3] = value
    assert warp(FRAMES[0], POINTS[0], points).shape == (1, 96, 96, 3)


def test_shapes():
    picture = np.zeros((40, 64, 3), np.uint8)
    assert warp(picture, POINTS[0] * 0.4, POINTS[:3] * 0.4).shape == (3, 40, 64, 3)
    assert warp(picture, POINTS[0], POINTS[:0]).shape == (0, 40, 64, 3)
