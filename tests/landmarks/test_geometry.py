import dataclasses

import numpy as np
import pytest

from emoji_jax.landmarks import Landmarks, align, project, solve, topology


def turn(yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """A rotation about the vertical axis, then about the line of sight, in degrees."""
    y, r = np.radians([yaw, roll])
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return np.array(about_z) @ about_y


def moved(face: Landmarks, rotations: list[np.ndarray], shifts: list[list[float]]) -> Landmarks:
    """A video of `face` turned and shifted (cm) frame by frame, seen by the same camera."""
    frames = face[np.zeros(len(rotations), int)]
    pose = frames.pose.astype(np.float64)
    pose[:, :3, :3] = np.array(rotations) @ pose[:, :3, :3]
    pose[:, :3, 3] += shifts
    camera = frames.vertices @ pose[:, :3, :3].swapaxes(1, 2) + pose[:, None, :3, 3]
    height, width = face.size
    points = frames.points.copy()
    points[:, :468, :2] = project(camera, face.size) / [width, height]
    # Irises ride along with the middle of their eyes.
    for lids, iris in (
        (topology.RIGHT_EYELIDS, slice(468, 473)),
        (topology.LEFT_EYELIDS, slice(473, 478)),
    ):
        middle = points[:, list(lids), :2].mean(axis=1, keepdims=True)
        points[:, iris, :2] += middle - middle[:1]
    return dataclasses.replace(frames, points=points, pose=pose.astype(np.float32))


def test_solve_finds_what_mediapipe_found(portrait: Landmarks, tall: Landmarks):
    for face in (portrait, tall):
        pose, vertices = solve(face.points, face.size)
        np.testing.assert_allclose(pose[:, :3, :3], face.pose[:, :3, :3], atol=2e-6)
        np.testing.assert_allclose(pose[:, :3, 3], face.pose[:, :3, 3], atol=2e-4)
        np.testing.assert_allclose(vertices, face.vertices, atol=5e-5)


def test_solve_is_undone_by_project(tall: Landmarks):
    pose, vertices = solve(tall.points, tall.size)
    camera = vertices @ pose[:, :3, :3].swapaxes(1, 2) + pose[:, None, :3, 3]
    np.testing.assert_allclose(project(camera, tall.size), tall.pixels[:, :468], atol=1e-3)


def test_solve_frames_do_not_touch_each_other(portrait: Landmarks, tall: Landmarks):
    both = np.concatenate([portrait.points, tall.points])
    for part, expected in zip(solve(both, (512, 512)), solve(tall.points, (512, 512)), strict=True):
        np.testing.assert_allclose(part[1:], expected, atol=1e-5)


def test_solve_rejects_too_few_points():
    with pytest.raises(ValueError, match="468"):
        solve(np.zeros((1, 400, 3), np.float32), (8, 8))


@pytest.mark.parametrize("head_pose", ["relative", "absolute"])
def test_self_reenactment_gives_the_driver_back(tall: Landmarks, head_pose):
    driver = moved(tall, [turn(), turn(20), turn(-5, 15)], [[0, 0, 0], [2, 1, 3], [-3, 0, -4]])
    points = align(driver[0], driver, head_pose=head_pose)
    np.testing.assert_allclose(points, driver.pixels, atol=2e-3)


def test_first_frame_has_the_pose_of_the_portrait(portrait: Landmarks, tall: Landmarks):
    driver = moved(tall, [turn(25, 10), turn(-25)], [[0, 0, 0], [0, 0, 0]])
    points = align(portrait, driver)
    np.testing.assert_allclose(points[0, :468], portrait.pixels[0, :468], atol=1e-3)
    assert np.abs(points[1] - portrait.pixels[0]).max() > 5


def test_motion_is_proportional_to_the_face(portrait: Landmarks, tall: Landmarks):
    driver = moved(tall, [turn(), turn()], [[0, 0, 0], [3, -2, 8]])

    def motion(pixels: np.ndarray) -> np.ndarray:
        """Of the nose, in face widths; and growth."""
        width = np.linalg.norm(pixels[:, 454] - pixels[:, 234], axis=-1)
        shift = (pixels[1, 4] - pixels[0, 4]) / width[0]
        return np.array([*shift, width[1] / width[0]])

    # Not exact: a face away from the middle of the picture is seen from another side.
    np.testing.assert_allclose(
        motion(align(portrait, driver)), motion(driver.pixels), atol=0.03, rtol=0.03
    )


def test_expression_is_added_in_canonical_space(portrait: Landmarks, tall: Landmarks):
    driver = moved(tall, [turn(), turn(30)], [[0, 0, 0], [4, 0, 0]])
    vertices = driver.vertices.copy()
    vertices[1, 14, 1] -= 1.0  # the lower lip, one centimetre down
    scores = driver.blendshapes.copy()
    scores[1] += 0.1  # so that frame 0 is the neutral one
    driver = dataclasses.replace(driver, vertices=vertices, blendshapes=scores)
    start = portrait.pose[0].astype(np.float64)
    expected = portrait.vertices[0, 14] + np.array([0, -1.0, 0])
    shifted = align(portrait, dataclasses.replace(driver, pose=driver.pose[[0, 0]]))
    np.testing.assert_allclose(
        shifted[1, 14],
        project((start[:3, :3] @ expected + start[:3, 3])[None], (512, 512))[0],
        atol=1e-3,
    )
    other = align(portrait, driver, neutral=1)
    assert np.abs(other[0, 14] - portrait.pixels[0, 14])[1] > 1  # now frame 0 has its mouth shut


def test_release_is_its_formula(portrait: Landmarks, tall: Landmarks):
    driver = moved(tall, [turn(3), turn(20, 5), turn(-9)], [[0, 0, 0], [2, 1, 3], [-3, 0, -4]])
    points = align(portrait, driver, compat="release")
    k = driver.blendshapes.sum(axis=1).argmin()
    for i in range(3):
        pose = driver.pose[i].astype(np.float64)
        pose[:3, 3] += portrait.pose[0, :3, 3].astype(np.float64) - driver.pose[0, :3, 3]
        mesh = portrait.vertices[0].astype(np.float64) + driver.vertices[i] - driver.vertices[k]
        x, y, z = (mesh @ pose[:3, :3].T + pose[:3, 3]).T
        focal, depth = 1.6318516731262207, -1.000100016593933 * z
        expected = np.stack([focal * x / depth, -focal * y / depth], axis=1) * 256 + 256
        # Poses are orthogonal to 1e-6 only; `align` takes the nearest rotation.
        np.testing.assert_allclose(points[i, :468], expected, atol=1e-3)


def test_gaze_follows_a_tilted_eye(tall: Landmarks):
    """Looking along the eye's own axis stays so when the portrait's head is tilted."""
    driver = tall[[0, 0]]
    points = driver.points.copy()
    corner, other = tall.pixels[0, 33], tall.pixels[0, 133]
    glance = 0.2 * (other - corner)
    points[1, 468:473, :2] += (glance / np.array([320, 448])).astype(np.float32)
    driver = dataclasses.replace(driver, points=points)
    tilted = moved(tall, [turn(roll=40)], [[0, 0, 0]])
    moved_pixels = align(tilted, driver)
    along = tilted.pixels[0, 133] - tilted.pixels[0, 33]
    np.testing.assert_allclose(moved_pixels[1, 468] - moved_pixels[0, 468], 0.2 * along, atol=0.3)


def test_closed_eyes_keep_the_pupil_in_the_eye(portrait: Landmarks, tall: Landmarks):
    points = tall.points.copy()
    lids = list(topology.RIGHT_EYELIDS)
    points[0, lids, 1] = points[0, lids, 1].mean()  # no height at all
    points[0, 468:473, 1] += 0.05
    driver = dataclasses.replace(tall, points=points)
    iris = align(portrait, driver)[0, 468]
    eye = portrait.pixels[0, lids]
    assert (iris > eye.min(axis=0) - 2).all()
    assert (iris < eye.max(axis=0) + 2).all()


def test_eyes_seen_from_the_side_stay_finite(portrait: Landmarks, tall: Landmarks):
    points = tall.points.copy()
    points[0, list(topology.RIGHT_EYELIDS)] = 0.5
    driver = dataclasses.replace(tall, points=points)
    assert np.isfinite(align(portrait, driver)).all()


def test_align_checks_its_arguments(portrait: Landmarks):
    with pytest.raises(ValueError, match="one frame"):
        align(portrait[[0, 0]], portrait)
    with pytest.raises(ValueError, match="one or more"):
        align(portrait, portrait[:0])
    with pytest.raises(Exception, match="sideways"):  # the suite's type checks may come first
        align(portrait, portrait, head_pose="sideways")
