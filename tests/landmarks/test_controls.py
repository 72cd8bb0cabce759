"""Each control does its part of the motion by its strength, and nothing to the others."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emoji_jax.data import synthetic
from emoji_jax.landmarks import Alignment, Controls, Landmarks, align, geometry, topology
from emoji_jax.landmarks.controls import _BROWS, _EYES, _MOUTH
from emoji_jax.landmarks.geometry import rotation
from emoji_jax.metrics.landmarks import signals
from tests.landmarks.test_geometry import moved, turn

PARTS = {"eyes": list(_EYES), "brows": list(_BROWS), "mouth": list(_MOUTH)}


@pytest.fixture
def driver() -> Landmarks:
    """Much of everything at once: `laugh` has eyes, brows, mouth and head in motion."""
    return synthetic.motion("laugh", 12)


def still(driver: Landmarks) -> Controls:
    return Controls(rotation=0.0, translation=0.0)


def test_every_drawn_point_belongs_to_one_part():
    drawn = {i for chain, _ in topology.DRAWN for i in chain}
    parts = [set(ids) for ids in PARTS.values()]
    assert set().union(*parts) == drawn and sum(map(len, parts)) == len(drawn)
    assert [len(part) for part in parts] == [32, 20, 20]


def test_all_at_one_is_as_driven(portrait, driver):
    np.testing.assert_array_equal(
        align(portrait, driver, controls=Controls()), align(portrait, driver)
    )


def test_nothing_leaves_the_portrait_as_it_is(portrait, driver):
    nothing = Controls(expression=0.0, gaze=0.0, rotation=0.0, translation=0.0)
    points = align(portrait, driver, controls=nothing)
    expected = np.repeat(portrait.pixels, len(driver), 0)
    np.testing.assert_allclose(points, expected, atol=2e-2)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_expression_moves_every_point_so_much_of_its_way(portrait, driver, strength):
    """In canonical space; the head, at rest, is where the portrait's is."""
    still = {"rotation": 0.0, "translation": 0.0}
    moved = align(portrait, driver, controls=Controls(**still, expression=strength))
    calm = int(np.argmin(driver.blendshapes.sum(1)))
    rest = driver.vertices.astype(float) - driver.vertices[calm]
    mesh = portrait.vertices[0] + strength * rest
    pose = portrait.pose[0].astype(float)
    turn = geometry.rotation(portrait.pose)[0]
    expected = geometry.project(mesh @ turn.T + pose[:3, 3], portrait.size)
    assert strength == 0 or np.abs(expected - portrait.pixels[:, :468]).max() > 2
    np.testing.assert_allclose(moved[:, :468], expected, atol=1e-3)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_moved_by_its_own_strength_alone(portrait, driver, part):
    weights = Controls(**{part: 0.25}).of_vertices(portrait.vertices[0])[:, 0]
    for name, ids in PARTS.items():
        np.testing.assert_array_equal(weights[ids], 0.25 if name == part else 1.0)
    assert (weights >= 0.25).all() and (weights <= 1).all()
    still = {"rotation": 0.0, "translation": 0.0}
    off = align(portrait, driver, controls=Controls(**still, **{part: 0.0}))
    on = align(portrait, driver, controls=Controls(**still))
    for name, ids in PARTS.items():
        if name == part:
            expected = np.repeat(portrait.pixels[:, ids], len(driver), 0)
            np.testing.assert_allclose(off[:, ids], expected, atol=2e-2)
            assert np.abs(on[:, ids] - expected).max() > 1
        else:
            np.testing.assert_array_equal(off[:, ids], on[:, ids])


def test_strength_passes_over_smoothly(portrait):
    """Neighbours in the mesh differ little, although a part of it stands still."""
    mesh = portrait.vertices[0].astype(float)
    weights = Controls(mouth=0.0).of_vertices(portrait.vertices[0])[:, 0]
    near = np.linalg.norm(mesh[:, None] - mesh, axis=-1) < 0.6  # cm
    assert near.sum() > 2 * len(mesh)
    assert np.abs(weights[:, None] - weights)[near].max() < 0.5


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.3, 1.7])
def test_rotation_turns_by_so_much_of_the_angle(tall, strength):
    angles = [0.0, 10.0, -20.0]
    driver = moved(tall, [turn(a) for a in angles], [[0, 0, 0]] * 3)
    turns, _ = Alignment(tall, driver, controls=Controls(rotation=strength))._head(driver)
    found = Rotation.from_matrix(turns @ turns[0].T).as_rotvec(degrees=True)
    np.testing.assert_allclose(found[:, 1], strength * np.array(angles), atol=1e-3)
    np.testing.assert_allclose(found[:, [0, 2]], 0, atol=1e-3)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_absolute_rotation_goes_from_the_portrait_s_to_the_driver_s(portrait, tall, strength):
    driver = moved(tall, [turn(20), turn(-15, 10)], [[0, 0, 0]] * 2)
    controls = Controls(rotation=strength)
    alignment = Alignment(portrait, driver, head_pose="absolute", controls=controls)
    turns, _ = alignment._head(driver)
    wanted = rotation(driver.pose) if strength else rotation(portrait.pose).repeat(2, 0)
    np.testing.assert_allclose(turns, wanted, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_translation_goes_so_much_of_the_way(tall, strength):
    """In the picture; growing is by a factor, so strength is its exponent."""
    driver = moved(tall, [turn()] * 3, [[0, 0, 0], [3, -2, 0], [0, 0, 9]])
    nose = align(tall, driver, controls=Controls(translation=strength))[:, 1]
    full = align(tall, driver)[:, 1]
    np.testing.assert_allclose(nose[1] - nose[0], strength * (full[1] - full[0]), atol=0.2)
    mesh = align(tall, driver, controls=Controls(translation=strength))[:, :468]
    size = np.ptp(mesh, axis=1)[:, 0]
    whole = np.ptp(align(tall, driver)[:, :468], axis=1)[:, 0]
    np.testing.assert_allclose(size[2] / size[0], (whole[2] / whole[0]) ** strength, rtol=5e-3)


def test_gaze_is_between_the_portraits_own_and_the_drivers(portrait):
    driver = synthetic.motion("gaze_left_right", 24)
    still = {"expression": 0.0, "rotation": 0.0, "translation": 0.0}

    def pupil(strength: float) -> np.ndarray:
        points = align(portrait, driver, controls=Controls(gaze=strength, **still))
        return points[:, topology.RIGHT_IRIS[0]]

    none, half, full = pupil(0.0), pupil(0.5), pupil(1.0)
    np.testing.assert_allclose(none, none[:1].repeat(len(driver), 0), atol=1e-9)
    np.testing.assert_allclose(none[0], portrait.pixels[0, topology.RIGHT_IRIS[0]], atol=0.05)
    np.testing.assert_allclose(half, (none + full) / 2, atol=1e-6)
    assert np.ptp(full[:, 0]) > 2 and np.ptp(pupil(1.4)[:, 0]) > np.ptp(full[:, 0])


def test_pupils_stay_in_the_eye_however_strong(portrait):
    driver = synthetic.motion("gaze_left_right", 24)
    points = align(portrait, driver, controls=Controls(gaze=9.0))
    for lids, iris in (
        (topology.RIGHT_EYELIDS, topology.RIGHT_IRIS),
        (topology.LEFT_EYELIDS, topology.LEFT_IRIS),
    ):
        low, high = points[:, list(lids)].min(1), points[:, list(lids)].max(1)
        assert ((points[:, iris[0]] >= low - 2) & (points[:, iris[0]] <= high + 2)).all()


def test_alignment_computes_frames_alone(portrait, driver):
    every = align(portrait, driver)
    some = Alignment(portrait, driver)[np.array([7, 2])]
    np.testing.assert_allclose(some, every[[7, 2]], atol=1e-9)


def test_exaggeration_shows_in_what_the_face_does(portrait, driver):
    """Lips part twice as far; what a detector would say of the result, solved from its points."""
    assert np.ptp(signals(driver)["mouth_opening"]) > 0.05
    lips = [13, 14]

    def gap(strength: float) -> np.ndarray:
        still = Controls(mouth=strength, rotation=0.0, translation=0.0)
        points = align(portrait, driver, controls=still)[:, lips]
        return points[:, 1, 1] - points[:, 0, 1]

    none, once, twice = gap(0.0), gap(1.0), gap(2.0)
    np.testing.assert_allclose(twice - none, 2 * (once - none), rtol=0.03, atol=0.1)
