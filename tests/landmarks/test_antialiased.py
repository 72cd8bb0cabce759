"""Landmarks with soft edges: as much light as line, where the line is, moving as it moves."""

import numpy as np
import pytest

from emoji_jax.landmarks import Landmarks, draw, topology
from emoji_jax.landmarks.antialiased import draw_antialiased

SIZE = (40, 48)
WHITE = np.full((1, 3), 255, np.uint8)


def line(start, end, size=SIZE):
    """One line by itself, as light per pixel from 0 to 1."""
    points = np.full((1, 478, 2), -100.0)
    points[0, :2] = start, end
    return draw_antialiased(points, np.array([[0, 1]]), WHITE, size, None)[0, ..., 0] / 255


def test_light_is_length_along_the_longer_side_and_lies_on_the_line():
    rng = np.random.default_rng(0)
    for start, end in rng.uniform(2, 38, (200, 2, 2)):
        drawn = line(start, end)
        assert drawn.sum() == pytest.approx(np.abs(end - start).max(), abs=0.2)
        y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        centre = (drawn * x).sum() / drawn.sum(), (drawn * y).sum() / drawn.sum()
        np.testing.assert_allclose(centre, (start + end) / 2, atol=0.05)


def test_a_hair_s_breadth_moves_it_by_as_much():
    def height(up):
        drawn = line((5, 20 - up), (35, 22 - up))
        return (drawn.sum(1) * (np.arange(SIZE[0]) + 0.5)).sum() / drawn.sum()

    heights = [height(up) for up in np.arange(0, 1, 0.05)]
    np.testing.assert_allclose(-np.diff(heights), 0.05, atol=0.01)


def test_direction_does_not_matter():
    np.testing.assert_array_equal(line((3, 4), (30, 17)), line((30, 17), (3, 4)))


@pytest.mark.parametrize("radius", [0.75, 1.5, 3])
def test_pupils_cover_their_square(radius):
    points = np.full((478, 2), -100.0)
    points[topology.PUPILS[0]] = 20.3, 17.9
    drawn = draw(points, SIZE, pupil_radius=radius, antialiased=True)[..., 0] / 255
    assert drawn.sum() == pytest.approx((2 * radius) ** 2, abs=0.05)


def test_borders_and_numbers_that_are_none():
    points = np.full((478, 2), -100.0)
    points[topology.EDGES[0]] = [[0, 0], [48, 40]]
    points[topology.PUPILS[0]] = np.nan
    points[topology.PUPILS[1]] = 48.0, 1e300
    drawn = draw(points, SIZE, antialiased=True)
    assert drawn.any() and drawn[..., 0].max() < 255


def test_leading_axes_are_kept(portrait: Landmarks):
    frames = np.stack([portrait.pixels, portrait.pixels + 0.4])
    drawn = draw(frames, (320, 240), antialiased=True)
    assert drawn.shape == (2, 1, 320, 240, 3)
    np.testing.assert_array_equal(drawn[1, 0], draw(frames[1, 0], (320, 240), antialiased=True))
    assert draw(frames[:0], (320, 240), antialiased=True).shape == (0, 1, 320, 240, 3)
