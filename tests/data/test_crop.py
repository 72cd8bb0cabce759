import numpy as np
import pytest

from emoji_jax.data.crop import Box, CropConfig, choose_box, crop, crop_landmarks, roll
from emoji_jax.errors import UserError
from emoji_jax.landmarks import project
from tests.data import media


def pixels(*faces) -> np.ndarray:
    return np.concatenate([face.pixels for face in faces])


def height(points: np.ndarray) -> float:
    return float(np.ptp(points[..., 1], axis=1).mean())


def test_the_face_has_its_part_of_the_crop():
    still = pixels(*[media.moved(scale=0.6, shift=(0.2, 0.2))] * 4)
    box = choose_box(still, (448, 320), CropConfig(face=0.5, smallest_face=10))
    assert isinstance(box, Box)
    assert height(still) / box.side == pytest.approx(0.5, abs=0.01)
    assert box.left >= 0 and box.top >= 0 and box.left + box.side <= 320
    middle = (still.min(axis=(0, 1)) + still.max(axis=(0, 1))) / 2
    np.testing.assert_allclose(middle, [box.left + box.side / 2, box.top + box.side / 2], atol=1)


def test_one_wrong_frame_changes_little():
    good = [media.moved(scale=0.6, shift=(0.2, 0.2))] * 39
    a = choose_box(pixels(*good), (448, 320), CropConfig(smallest_face=10))
    b = choose_box(
        pixels(*good, media.moved(shift=(0.4, 0.4))), (448, 320), CropConfig(smallest_face=10)
    )
    assert isinstance(a, Box) and a == b


def test_faces_that_move_are_inside():
    path = [media.moved(scale=0.5, shift=(i / 40, i / 60)) for i in range(16)]
    box = choose_box(pixels(*path), (448, 320), CropConfig(smallest_face=10))
    assert isinstance(box, Box)
    found = (pixels(*path) - [box.left, box.top]) / box.side
    assert found.min() > 0 and found.max() < 1


def test_faces_that_cannot_be_cropped():
    config = CropConfig(smallest_part=0.5, smallest_face=40)
    assert choose_box(pixels(media.moved(scale=0.1)), (448, 320), config) == "face too small"
    far = [media.moved(scale=0.5, shift=(i / 2, 0)) for i in range(6)]
    assert choose_box(pixels(*far), (448, 320), config) == "face moves too far"
    with pytest.raises(UserError, match="at least"):
        CropConfig(face=0.2)


def test_crops_outside_the_picture_repeat_its_edge():
    frame = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    inside = crop(frame, Box(1, 2, 3), 3)
    np.testing.assert_array_equal(inside, frame[2:5, 1:4])
    padded = crop(frame, Box(-1, 0, 6), 6)
    np.testing.assert_array_equal(padded, frame[:, [0, 0, 1, 2, 3, 3]])
    assert crop(frame, Box(0, 0, 4), 16).shape == (16, 16, 3)


def test_landmarks_stay_on_the_face():
    one, box = media.face(), Box(30, 60, 250)
    found = crop_landmarks(
        one.points, one.blendshapes, np.array([7.5]), one.size, box, crop_size=128
    )
    assert found.size == (128, 128) and found.times.tolist() == [0]
    np.testing.assert_allclose(
        found.pixels, (one.pixels - [box.left, box.top]) * 128 / box.side, atol=1e-3
    )
    # Depth is in units of the width.
    z = one.points[..., 2] * one.size[1] / box.side
    np.testing.assert_allclose(found.points[..., 2], z, atol=1e-6)
    camera = found.vertices @ found.pose[0, :3, :3].T + found.pose[0, :3, 3]
    np.testing.assert_allclose(project(camera, found.size), found.pixels[:, :468], atol=0.05)


def test_roll():
    one = media.face()
    assert roll(one) < 15
    turned = one.points.copy()
    turned[..., :2] = 1 - turned[..., :2]
    found = crop_landmarks(turned, one.blendshapes, one.times, one.size, Box(0, 0, 320), 128)
    assert roll(found) > 165
