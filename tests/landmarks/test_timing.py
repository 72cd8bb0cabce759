"""Motions in time: cut, resampled, smoothed."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emoji_jax import disk
from emoji_jax.data import synthetic
from emoji_jax.landmarks import Landmarks, timing
from emoji_jax.landmarks.geometry import rotation, solve
from tests.landmarks.test_geometry import moved, turn


@pytest.fixture
def motion() -> Landmarks:
    return synthetic.motion("laugh", 26)  # one second


def assert_same(a: Landmarks, b: Landmarks, atol: float = 0) -> None:
    for name in ("points", "vertices", "pose", "blendshapes", "times"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=atol, err_msg=name)
    assert a.size == b.size


def test_trim_goes_by_seconds_since_the_first_frame(motion):
    late = dataclasses.replace(motion, times=motion.times + 7)
    part = timing.trim(late, 0.2, 0.6)
    np.testing.assert_allclose(part.times, 7 + np.arange(5, 15) / 25)
    assert len(timing.trim(late, 0.0, None)) == 26 and len(timing.trim(late, 2.0, None)) == 0


def test_gather_undoes_taking_apart(motion, monkeypatch):
    monkeypatch.setattr(disk, "CHUNK", 10)
    assert_same(timing.gather(motion[part] for part in disk.chunks(len(motion))), motion)


def test_resampling_at_its_own_times_changes_nothing(motion):
    assert_same(timing.resample(motion, motion.times), motion)


def test_resampling_at_uneven_times_and_beyond_the_ends(motion):
    """A motion that is known in closed form: everything on straight lines."""
    line = dataclasses.replace(
        motion, points=motion.points[:1] + motion.times[:, None, None].astype(np.float32)
    )
    times = np.array([-1.0, 0.013, 0.5, 0.5001, 0.999, 3.0])
    found = timing.resample(line, times)
    expected = line.points[:1] + times.clip(0, 1)[:, None, None]
    np.testing.assert_allclose(found.points, expected, atol=1e-6)
    np.testing.assert_array_equal(found.times, times)


def test_heads_turn_about_one_axis(tall):
    """Half-way between two rotations is half the angle, and the head keeps its size."""
    driver = moved(tall, [turn(0), turn(80)], [[0, 0, 0], [4, 0, 0]])
    driver = dataclasses.replace(driver, times=np.array([0.0, 1.0]))
    half = timing.resample(driver, np.array([0.25, 0.5]))
    start = Rotation.from_matrix(rotation(driver.pose[:1])[0])
    way = Rotation.from_matrix(rotation(half.pose)) * start.inv()
    np.testing.assert_allclose(way.as_rotvec(degrees=True)[:, 1], [20, 40], atol=1e-3)
    scale = np.cbrt(np.linalg.det(half.pose[:, :3, :3]))
    np.testing.assert_allclose(scale, np.cbrt(np.linalg.det(driver.pose[0, :3, :3])), rtol=1e-5)
    np.testing.assert_allclose(half.pose[:, 0, 3] - driver.pose[0, 0, 3], [1, 2], atol=1e-4)


def shaken(motion: Landmarks, sigma: float) -> Landmarks:
    """With noise on its points, in parts of the picture."""
    noise = np.random.default_rng(0).normal(0, sigma, motion.points.shape).astype(np.float32)
    points = motion.points + noise
    pose, vertices = solve(points, motion.size)
    return dataclasses.replace(motion, points=points, pose=pose, vertices=vertices)


def test_smoothing_takes_jitter_from_a_face_at_rest():
    rest = synthetic.motion("laugh", 2)[np.zeros(60, int)]
    rest = dataclasses.replace(rest, times=np.arange(60) / 30)
    shaky = shaken(rest, 0.001)
    smoothed = timing.smooth(shaky, 1.0)
    before = np.abs(shaky.points - rest.points).std()
    after = np.abs(smoothed.points - rest.points)[10:-10].std()
    assert after < before / 2
    pose, vertices = solve(smoothed.points, rest.size)
    np.testing.assert_allclose(smoothed.pose, pose, atol=1e-5)
    np.testing.assert_allclose(smoothed.vertices, vertices, atol=1e-5)


def test_smoothing_does_not_lag_and_keeps_motion():
    """A mouth that opens and shuts is smoothed at its own time: the filter's delay is none."""
    motion = synthetic.motion("mouth_open", 60)
    smoothed = timing.smooth(motion, 1.0)
    lips = motion.points[:, 14, 1] - motion.points[:, 13, 1]
    after = smoothed.points[:, 14, 1] - smoothed.points[:, 13, 1]
    lags = range(-8, 9)
    fits = [np.corrcoef(lips[10:-10], np.roll(after, lag)[10:-10])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) <= 1
    assert np.ptp(after) > 0.8 * np.ptp(lips)
    np.testing.assert_array_equal(smoothed.times, motion.times)


def test_smoothing_of_one_frame(motion):
    assert_same(timing.smooth(motion[3], 2.0), motion[3], atol=1e-5)


def test_rows_lie_on_disk_and_come_back():
    rows = disk.Rows((3,), np.float32)
    assert rows.array().shape == (0, 3)
    for start in range(0, 10, 2):
        rows.append(np.arange(3 * start, 3 * start + 6).reshape(2, 3))
    assert isinstance(rows.array(), np.memmap) and len(rows) == 10
    np.testing.assert_array_equal(rows.array().ravel(), np.arange(30))
    with pytest.raises(ValueError, match="expected"):
        rows.append(np.zeros((1, 4)))
