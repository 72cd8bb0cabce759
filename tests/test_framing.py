"""What the networks see of a picture, and its way back."""

import dataclasses

import numpy as np
import pytest

from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig, View, around, paste, shares, whole
from emoji_jax.landmarks import Landmarks, solve

SIZES = [(300, 400), (401, 233), (1000, 999)]


def face_in(size: tuple[int, int], left: float, top: float, height: float) -> Landmarks:
    """The average face in a picture, its box at these pixels."""
    average = synthetic.motion("laugh", 2)[0]
    points = average.pixels[0] - average.pixels[0].min(0)
    points = points * height / points[:, 1].max() + [left, top]
    full = np.concatenate([points / [size[1], size[0]], average.points[0, :, 2:]], 1)[None]
    pose, vertices = solve(full.astype(np.float32), size)
    return dataclasses.replace(
        average, points=full.astype(np.float32), pose=pose, vertices=vertices, size=size
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seen", [(128, 128), (64, 96)])
def test_a_crop_lies_in_the_picture_and_shows_the_face(size, seen):
    face = face_in(size, 10, size[0] / 3, size[0] / 5)
    view = around(face, seen, FramingConfig())
    rows, columns = view.extent
    assert view.left >= 0 and view.left + columns <= size[1]
    assert view.top >= 0 and view.top + rows <= size[0]
    assert abs(columns / rows - seen[1] / seen[0]) < 0.02
    points = view.landmarks(face).points[0, :, :2]
    assert points.min() > 0 and points.max() < 1
    assert abs(np.ptp(points[:, 1]) - 0.5) < 0.02


def test_a_face_larger_than_half_of_the_picture_gets_all_of_it():
    face = face_in((300, 400), 100, 40, 220)
    view = around(face, (128, 128), FramingConfig())
    assert (view.extent, view.top) == ((300, 300), 0)


def test_a_face_wider_than_the_picture_is_high_is_seen_whole():
    face = face_in((100, 400), 150, -20, 140)
    view = around(face, (128, 128), FramingConfig())
    points = view.landmarks(face).points[0, :, :2]
    assert points.min() > 0 and points.max() < 1
    assert view.cut(np.zeros((100, 400, 3), np.uint8)).shape == (128, 128, 3)


@pytest.mark.parametrize("size", SIZES)
def test_landmarks_lie_where_the_picture_shows_them(size):
    """A dot painted at a landmark is found at the mapped landmark."""
    face = face_in(size, size[1] / 3, size[0] / 3, size[0] / 4)
    for view in (around(face, (160, 160), FramingConfig()), whole(size, (160, 160))):
        picture = np.zeros((*size, 3), np.uint8)
        x, y = face.pixels[0, 4].round().astype(int)
        picture[y - 3 : y + 4, x - 3 : x + 4] = 255
        seen = view.cut(picture)[..., 0].astype(float)
        spot = np.array([(seen * grid).sum() for grid in np.mgrid[:160, :160]]) / seen.sum()
        np.testing.assert_allclose(view.landmarks(face).pixels[0, 4], spot[::-1] + 0.5, atol=1.5)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_cut_out_and_put_back_unchanged_leaves_the_picture(size):
    """Up to what resizing there and back loses of a smooth picture."""
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.stack(
        [127 + 100 * np.sin(x / 40), 127 + 100 * np.cos(y / 50), x / x.max() * 255], 2
    )
    picture = picture.astype(np.uint8)
    face = face_in(size, size[1] / 3, size[0] / 3, size[0] / 4)
    for view in (around(face, (128, 128), FramingConfig()), whole(size, (256, 256))):
        again = paste([view.part(view.cut(picture))], [view], shares([view], 0.1), picture)
        assert again.shape == picture.shape
        assert np.abs(again.astype(int) - picture).mean() < 2.5


def test_seam_is_soft_inside_the_picture_and_absent_at_its_edges():
    view = View((200, 300), 100, 0, (120, 120), (64, 64))
    weight = view.weights(0.1)[..., 0]
    assert weight.shape == (120, 120)
    assert weight[0, 60] == 1  # the picture's own upper edge
    assert weight[-1, 60] < 0.02 and weight[60, 0] < 0.02 and weight[60, -1] < 0.02
    assert (weight[20:100, 20:100] == 1).all()
    assert np.abs(np.diff(weight, axis=0)).max() < 0.15
    black = np.zeros((200, 300, 3), np.uint8)
    white = view.part(np.full((64, 64, 3), 255, np.uint8))
    pasted = paste([white], [view], shares([view], 0.1), black)
    assert not pasted[:, :100].any() and not pasted[120:].any() and pasted[60, 160].all()


def test_neighbours_keep_their_faces():
    """Crops of people side by side lie over each other; each shows its own face moved."""
    size = (500, 800)
    # 160 pixels wide, ten apart.
    views = [around(face_in(size, x, 250, 200), (64, 64), FramingConfig()) for x in (300, 470)]
    picture = np.full((*size, 3), 128, np.uint8)
    made = [np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)]
    parts = [view.part(frame) for view, frame in zip(views, made, strict=True)]
    weights = shares(views, 0.12)
    pasted = paste(parts, views, weights, picture)
    face = (slice(255, 445), slice(302, 440)), (slice(255, 445), slice(490, 628))
    assert (pasted[face[0]] < 30).all() and (pasted[face[1]] > 225).all()
    total = np.zeros((*size, 1))
    for view, weight in zip(views, weights, strict=True):
        total[view.place] += weight
    assert total.max() <= 1 + 1e-5
    # Outside of both nothing changes; where one is alone it counts as it would alone.
    assert (pasted[total[..., 0] == 0] == 128).all()
    alone = views[0].weights(0.12)
    left = slice(0, views[1].left - views[0].left)
    np.testing.assert_allclose(weights[0][:, left], alone[:, left], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"face_height": 0.0}, {"seam": 0.7}, {"face": "all", "paste": False}],
)
def test_settings_that_can_not_be(options):
    with pytest.raises(UserError, match="framing"):
        FramingConfig(**options)
