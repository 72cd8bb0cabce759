import numpy as np
import pytest

from emoji_jax.landmarks import Landmarks, draw, draw_aligned, topology
from emoji_jax.landmarks.render import line_pixels, to_pixels


def bresenham(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    """The textbook loop: error term, one pixel at a time, from left to right."""
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy, down = x1 - x0, abs(y1 - y0), 1 if y1 > y0 else -1
    steep = dy > dx
    long, short = max(dx, dy), min(dx, dy)
    error, x, y, pixels = long - 2 * short, x0, y0, []
    for _ in range(long + 1):
        pixels.append((x, y))
        aside = error < 0
        error += 2 * long * aside - 2 * short
        x += not steep or aside
        y += down if steep or aside else 0
    return pixels


def test_lines_are_bresenham_s():
    ends = np.random.default_rng(0).integers(0, 40, (500, 4))
    x, y, line = line_pixels(ends[:, :2], ends[:, 2:])
    for i, (x0, y0, x1, y1) in enumerate(ends.tolist()):
        assert list(zip(x[line == i], y[line == i], strict=True)) == bresenham(x0, y0, x1, y1)


def test_lines_are_opencv_s():
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    for x0, y0, x1, y1 in np.random.default_rng(1).integers(0, 60, (300, 4)).tolist():
        ours, theirs = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8)
        x, y, _ = line_pixels(np.array([[x0, y0]]), np.array([[x1, y1]]))
        ours[y, x] = 1
        cv2.line(theirs, (x0, y0), (x1, y1), 1)
        np.testing.assert_array_equal(ours, theirs)


def test_drawing_is_the_released_code_s(portrait: Landmarks, drawn: np.ndarray):
    np.testing.assert_array_equal(draw(portrait.pixels[0], portrait.size), drawn)


def test_leading_axes_are_kept(portrait: Landmarks):
    pixels = portrait.pixels
    frames = np.stack([pixels, pixels + 20])
    images = draw(frames, (64, 96))
    assert images.shape == (2, 1, 64, 96, 3)
    np.testing.assert_array_equal(images[1, 0], draw(frames[1, 0], (64, 96)))
    assert draw(frames[:0], (64, 96)).shape == (0, 1, 64, 96, 3)


def test_points_are_rounded_as_in_mediapipe_s_messages():
    points = np.array([[0, 0], [9.9999999, 5], [10, 10], [10.001, 5], [-1e-9, 5], [np.nan, 1]])
    pixels, inside = to_pixels(points, (10, 10))
    assert inside.tolist() == [True, True, True, False, False, False]
    assert pixels[:3].tolist() == [[0, 0], [9, 5], [9, 9]]


def test_edges_with_an_end_outside_are_left_out(portrait: Landmarks):
    pixels = portrait.pixels[0].copy()
    pixels[list(topology.PUPILS)] = -100
    pixels[topology.EDGES[:, 0]] = [-1, -1]
    assert not draw(pixels, portrait.size).any()


def test_later_lines_cover_earlier_ones(portrait: Landmarks):
    pixels = np.full((478, 2), -100.0)
    pixels[[263, 249]] = pixels[[13, 312]] = [[10, 10], [20, 10]]
    assert draw(pixels, (32, 32))[10, 15].tolist() == [150, 120, 100]


def test_contour_and_pupils(portrait: Landmarks):
    pixels, size = portrait.pixels[0], portrait.size
    plain, contour = draw(pixels, size), draw(pixels, size, contour=True)
    added = (contour != plain).any(axis=-1)
    assert (contour[added] == topology.CONTOUR_COLOUR).all()
    assert added.any()
    red = (plain == topology.PUPIL_COLOUR).all(axis=-1)
    assert red.sum() == 2 * 36
    assert not (draw(pixels, size, pupils=False) == topology.PUPIL_COLOUR).all(axis=-1).any()
    small = draw(pixels, size, pupil_radius=1)
    assert (small == topology.PUPIL_COLOUR).all(axis=-1).sum() == 2 * 4


@pytest.mark.parametrize(
    ("place", "ours", "released"),
    [
        ((1.7, 20.0), 4 * 6, 0),  # half out on the left: a negative index empties the slice
        ((20.0, 1.7), 4 * 6, 0),
        ((31.5, 20.0), 4 * 6, 4 * 6),
        ((-5.0, -5.0), 0, 6 * 6),  # wholly outside: it shows up at the other side
        ((400.0, 20.0), 0, 0),
        ((np.inf, np.nan), 0, 0),
        ((-1e300, 1e300), 0, 0),
    ],
)
def test_pupils_at_the_border(place, ours, released):
    points = np.full((478, 2), -100.0)
    points[468] = place
    points[473] = 500
    for compat, count in ((None, ours), ("release", released)):
        image = draw(points, (32, 32), compat=compat)
        assert (image[..., 0] == 255).sum() == count


def test_release_leaves_out_the_first_frame(portrait: Landmarks, tall: Landmarks):
    driver = tall[[0, 0, 0]]
    assert draw_aligned(portrait, driver).shape == (3, 512, 512, 3)
    assert draw_aligned(portrait, driver, compat="release").shape == (2, 512, 512, 3)


def test_topology():
    assert topology.EDGES.shape == (68, 2)
    assert topology.EDGE_COLOURS.shape == (68, 3)
    assert topology.CONTOUR_EDGES.shape == (26, 2)
    assert len(topology.LEFT_EYELIDS) == len(topology.RIGHT_EYELIDS) == 16
    assert len(topology.FACE_RING) == 26
    assert len(topology.BLENDSHAPES) == len(set(topology.BLENDSHAPES)) == 51
    assert len({frozenset(edge) for edge in topology.EDGES.tolist()}) == 68
