import hashlib
import subprocess
import sys

import numpy as np
import pytest

from emoji_jax import assets
from emoji_jax.data import synthetic
from emoji_jax.data.synthetic import EXPRESSIONS, STYLES, Expression, head, motions, rig
from emoji_jax.data.synthetic.identity import neutral
from emoji_jax.errors import UserError
from emoji_jax.landmarks import Detector, project, topology

_EYE = {"right": ((159, 145), (33, 133)), "left": ((386, 374), (362, 263))}


def _opening(points, side):
    """Height of the eye's opening over its width."""
    (up, low), (a, b) = _EYE[side]
    height = np.linalg.norm(points[..., up, :] - points[..., low, :], axis=-1)
    return height / np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)


def _digest():
    frames, landmarks = synthetic.clip(3, 11, 2, 48)
    points = np.round(landmarks.points, 4) + 0.0
    return hashlib.sha256(frames.tobytes() + points.tobytes()).hexdigest()


def test_clip_is_the_same_in_another_process():
    code = "from tests.data.test_synthetic import _digest; print(_digest())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == _digest()


def test_clip_does_not_import_what_workers_lack():
    code = (
        "import sys; from emoji_jax.data.synthetic import clip; clip(0, 0, 1, 32);"
        "print({'jax', 'cv2', 'mediapipe'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_clips_differ_and_share_people():
    per = synthetic.CLIPS_PER_IDENTITY
    one, other, stranger = (synthetic.clip(5, i, 1, 48)[0] for i in (0, per - 1, per))
    assert not np.array_equal(one, other) and not np.array_equal(one, stranger)
    assert [synthetic.identity_of(5, i) for i in (0, per - 1, per)] == [0, 0, 1]
    assert synthetic.portrait(5, 0).skin == synthetic.portrait(5, per - 1).skin
    assert synthetic.portrait(5, 0).noise != synthetic.portrait(6, 0).noise


def test_styles_differ_in_looks_only():
    results = [synthetic.clip(1, 4, 1, 64, style=style) for style in STYLES]
    for i, (frames, _) in enumerate(results):
        assert frames.shape == (1, 64, 64, 3) and frames.dtype == np.uint8
        for other, _ in results[:i]:
            assert np.abs(frames.astype(int) - other).mean() > 3


@pytest.mark.parametrize("index", range(0, 64, 8))
def test_landmarks_lie_in_the_picture_and_agree_with_the_pose(index):
    size = (96, 80)
    frames, landmarks = synthetic.clip(2, index, 6, size)
    assert frames.shape == (6, *size, 3)
    drawn = landmarks.points[:, topology.DRAWN_POINTS, :2]
    assert (drawn > 0.02).all() and (drawn < 0.98).all()
    # Pose and vertices give the points back, as everywhere in this package.
    camera = landmarks.vertices @ landmarks.pose[:, :3, :3].swapaxes(1, 2)
    camera = camera + landmarks.pose[:, None, :3, 3]
    np.testing.assert_allclose(project(camera, size), landmarks.pixels[:, :468], atol=0.01)
    height = np.ptp(landmarks.pixels[..., 1][:, :468], axis=1) / size[0]
    assert (height > 0.4).all() and (height < 0.85).all()


def test_solved_pose_is_the_rigs():
    angles = np.array([-20.0, 0.0, 20.0])
    for name, axis in (("yaw", (0, 2)), ("pitch", (1, 2)), ("roll", (1, 0))):
        expression = Expression(**{name: angles})
        solved = synthetic.landmarks(expression, (256, 256)).pose[:, :3, :3]
        solved = solved / np.linalg.norm(solved, axis=1, keepdims=True)
        relative = solved @ head.turn(expression)[0].swapaxes(1, 2)
        off = np.degrees(np.arccos(((np.trace(relative, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
        assert off.max() < 4, (name, axis, off)


def test_vertices_do_not_depend_on_the_pose():
    turned = synthetic.landmarks(Expression(yaw=np.array([0.0, 15.0]), roll=8.0), (256, 256))
    apart = np.linalg.norm(turned.vertices[0] - turned.vertices[1], axis=-1)
    assert apart.mean() < 0.5


@pytest.mark.parametrize("index", range(0, 40, 8))
def test_controls_move_what_they_name(index):
    face = neutral(synthetic.portrait(8, index))
    rest = rig.deform(face, Expression())[0]
    for side, other in (("left", "right"), ("right", "left")):
        shut = rig.deform(face, Expression(**{f"blink_{side}": 1.0}))[0]
        assert _opening(rest, side) > 0.2
        assert _opening(shut, side) < 0.01
        assert _opening(shut, other) == pytest.approx(_opening(rest, other))
        wide = rig.deform(face, Expression(**{f"wide_{side}": 1.0}))[0]
        assert _opening(wide, side) > 1.2 * _opening(rest, side)
    gap = lambda points: points[13, 1] - points[14, 1]  # noqa: E731
    assert abs(gap(rest)) < 0.15
    assert gap(rig.deform(face, Expression(jaw_open=1.0))[0]) > 2
    # Pursed or pressed lips do not pass each other.
    for name in ("press", "pucker", "lower_out"):
        assert gap(rig.deform(face, Expression(**{name: 1.0}))[0]) > -0.01
    width = lambda points: points[291, 0] - points[61, 0]  # noqa: E731
    assert width(rig.deform(face, Expression(pucker=1.0))[0]) < 0.75 * width(rest)
    smile = rig.deform(face, Expression(smile_left=1.0, smile_right=1.0))[0]
    assert width(smile) > 1.15 * width(rest) and smile[61, 1] > rest[61, 1] + 0.4


def test_gaze_moves_irises_only():
    face = neutral(synthetic.portrait(0, 0))
    rest = rig.deform(face, Expression())[0]
    left = rig.deform(face, Expression(gaze_x=1.0))[0]
    up = rig.deform(face, Expression(gaze_y=1.0))[0]
    for pupil in topology.PUPILS:
        assert left[pupil, 0] > rest[pupil, 0] + 0.5
        assert up[pupil, 1] > rest[pupil, 1] + 0.4
    np.testing.assert_array_equal(left[:468], rest[:468])


def test_there_are_18_distinct_expressions_that_begin_and_end_at_rest():
    assert len(EXPRESSIONS) == 18
    made = {name: synthetic.motion(name, 25) for name in EXPRESSIONS}
    for name, landmarks in made.items():
        assert len(landmarks) == 25
        assert landmarks.blendshapes[[0, -1]].max() == 0, name
        np.testing.assert_allclose(landmarks.points[0], landmarks.points[-1], atol=1e-5)
        assert landmarks.blendshapes.sum(axis=1).argmin() in (0, 24), name
    for i, a in enumerate(EXPRESSIONS):
        for b in list(EXPRESSIONS)[:i]:
            apart = np.linalg.norm(made[a].vertices - made[b].vertices, axis=-1)
            assert apart.max() > 0.3, (a, b)


def test_motions_vary_with_a_seed_and_still_rest():
    one, other = (synthetic.motion("smile", 9, frame_rate=10.0, seed=s) for s in (1, 2))
    assert not np.allclose(one.points, other.points)
    assert one.blendshapes[[0, -1]].max() == 0
    np.testing.assert_allclose(one.times[:3], (0, 0.1, 0.2))
    with pytest.raises(UserError, match="wink"):
        synthetic.motion("yodel")


def test_controls_are_kept_in_range():
    array = Expression(jaw_open=2.0, gaze_x=-3.0, blink_left=-1.0).array(2)
    named = dict(zip(synthetic.CONTROLS, array.T, strict=True))
    assert named["jaw_open"].tolist() == [1, 1]
    assert named["gaze_x"][0] == -1 and named["blink_left"][0] == 0
    again = Expression.of(array).array()
    np.testing.assert_array_equal(again, array)
    np.testing.assert_array_equal(motions.mirrored(motions.mirrored(array)), array)


def test_open_mouth_shows_dark_and_teeth():
    person = synthetic.portrait(0, 0, "flat")
    size = (192, 192)
    expression = Expression(jaw_open=1.0, smile_left=0.6, smile_right=0.6, upper_up_left=0.6)
    picture = synthetic.render(person, expression, size)[0]
    points = synthetic.landmarks(expression, size, person).pixels[0]
    ring = points[list(rig.UPPER_LIP) + list(rig.LOWER_LIP)]
    (left, top), (right, bottom) = ring.min(axis=0).astype(int), ring.max(axis=0).astype(int)
    mouth = picture[top:bottom, left:right].astype(int)
    assert (mouth.sum(axis=-1) < 250).mean() > 0.1
    assert (mouth.min(axis=-1) > 190).mean() > 0.05


def test_detector_finds_what_the_rig_made():
    try:
        detector = Detector(assets.fetch("face_landmarker.task"))
    except UserError as error:
        pytest.skip(str(error))
    count, size, found, errors = 24, (192, 192), 0, []
    rng = np.random.default_rng(0)
    with detector:
        for i in range(count):
            person = synthetic.portrait(4, i * synthetic.CLIPS_PER_IDENTITY, "shaded")
            expression = Expression(
                yaw=rng.uniform(-20, 20), pitch=rng.uniform(-10, 10), gaze_x=rng.uniform(-1, 1),
                jaw_open=rng.uniform(0, 0.7), smile_left=rng.uniform(), smile_right=rng.uniform(),
            )  # fmt: skip
            truth = synthetic.landmarks(expression, size, person).pixels[0]
            face = detector.detect(synthetic.render(person, expression, size)[0])
            if face is None:
                continue
            found += 1
            ids = [*topology.LEFT_EYELIDS, *topology.RIGHT_EYELIDS, *rig.UPPER_LIP, *rig.LOWER_LIP]
            off = np.linalg.norm(face.pixels[0, ids] - truth[ids], axis=-1).mean()
            errors.append(off / np.linalg.norm(truth[33] - truth[263]))
    assert found >= 0.9 * count
    assert np.mean(errors) < 0.03
