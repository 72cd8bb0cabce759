import numpy as np
import pytest

from emoji_jax.landmarks import Landmarks, expression_mask, face_mask, topology
from emoji_jax.landmarks.masks import fill_polygon


def test_fills_a_square_with_its_outline():
    mask = fill_polygon(np.array([[2, 3], [6, 3], [6, 8], [2, 8]], float), (12, 10))
    expected = np.zeros((12, 10), np.uint8)
    expected[3:9, 2:7] = 1
    np.testing.assert_array_equal(mask, expected)


def test_even_odd_rule_leaves_holes():
    outer, inner = (
        [[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]],
        [[5, 5], [15, 5], [15, 15], [5, 15]],
    )
    mask = fill_polygon(np.array([*outer, *inner, [5, 5]], float), (21, 21))
    assert mask[10, 10] == 0
    assert mask[2, 10] == 1


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.6, 3.0, 20.0])
def test_polygons_are_opencv_s(margin):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    rng = np.random.default_rng(int(10 * margin))
    for _ in range(60):
        height, width = rng.integers(1, 90, 2).tolist()
        corners = rng.uniform(-margin, 1 + margin, (rng.integers(3, 30), 2)) * [width, height]
        expected = np.zeros((height, width), np.uint8)
        cv2.fillPoly(expected, [corners.astype(np.int32)], 1)
        np.testing.assert_array_equal(fill_polygon(corners, (height, width)), expected)


def test_polygon_far_outside_is_empty():
    corners = np.array([[1e9, 1e9], [2e9, 1e9], [np.inf, 2e9]])
    assert not fill_polygon(corners, (16, 16)).any()


def test_face_mask_holds_the_face(portrait: Landmarks):
    pixels = portrait.pixels
    mask = face_mask(pixels, portrait.size)
    assert mask.shape == (1, 512, 512)
    assert mask.dtype == np.uint8
    for point in (1, 13, 14, 468, 473):  # nose, lips, pupils
        x, y = pixels[0, point].astype(int)
        assert mask[0, y, x] == 1
    assert mask[0, :40].sum() == 0
    np.testing.assert_array_equal(face_mask(pixels[0], portrait.size), mask[0])


@pytest.mark.parametrize("radius", [0, 1, 7])
def test_expression_mask_is_discs_around_drawn_points(portrait: Landmarks, radius):
    pixels = portrait.pixels[0] - [190, 40]  # some points leave the picture
    mask = expression_mask(pixels, (60, 70), radius)
    y, x = np.mgrid[:60, :70]
    centres = np.floor(pixels[topology.DRAWN_POINTS])
    near = (x[..., None] - centres[:, 0]) ** 2 + (y[..., None] - centres[:, 1]) ** 2 <= radius**2
    np.testing.assert_array_equal(mask, near.any(axis=-1))
    assert expression_mask(pixels[None, None], (60, 70), radius).shape == (1, 1, 60, 70)


@pytest.mark.parametrize("factor", [2, 5, 8, 40])
@pytest.mark.parametrize("shift", [0, 130, -300])
def test_latents_that_any_pixel_marks(portrait: Landmarks, factor, shift):
    size, pixels = (480, 400), portrait.pixels + shift
    for ours, whole in (
        (face_mask(pixels, size, factor), face_mask(pixels, size)),
        (expression_mask(pixels, size, 7, factor), expression_mask(pixels, size, 7)),
    ):
        cells = whole.reshape(1, 480 // factor, factor, 400 // factor, factor)
        np.testing.assert_array_equal(ours, cells.max(axis=(2, 4)))
        assert shift or ours.any()


def test_factor_that_does_not_divide(portrait: Landmarks):
    with pytest.raises(ValueError, match="16x24 cannot be divided by 5"):
        face_mask(portrait.pixels, (16, 24), 5)
    with pytest.raises(ValueError, match="16x24 cannot be divided by 5"):
        expression_mask(portrait.pixels, (16, 24), 1, 5)
