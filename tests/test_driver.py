"""Motions as they are read: part, speed, rest position, remarks."""

import dataclasses
import inspect
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax import driver
from emoji_jax.data import synthetic
from emoji_jax.driver import MotionConfig, check_motion
from emoji_jax.errors import UserError, check_fields
from emoji_jax.landmarks import Controls, Landmarks, align
from emoji_jax.landmarks.controls import AS_DRIVEN
from emoji_jax.metrics.landmarks import signals
from emoji_jax.video_writer import VideoWriter
from tests.conftest import PORTRAIT
from tests.test_video_writer import write_sound


def read(motion: driver.Motion, **options: object) -> driver.Driver:
    from emoji_jax.landmarks import Detector

    moving = MotionConfig(**options)
    check_motion(moving)
    return driver.read(motion, moving, Detector, lambda *_: None)


@pytest.fixture
def laugh() -> Landmarks:
    """25 frames per second, two seconds and one frame."""
    return synthetic.motion("laugh", 51)


@pytest.mark.parametrize("speed", [0.5, 1.0, 3.0])
def test_speed(laugh, speed):
    found = read(laugh, speed=speed).landmarks
    assert len(found) == int(50 / speed + 1e-6) + 1
    np.testing.assert_allclose(np.diff(found.times), 1 / 25, atol=1e-9)
    np.testing.assert_allclose(
        found.points[-1], laugh.points[int(speed * (len(found) - 1))], atol=1e-5
    )


def test_frames_per_second(laugh):
    found = read(laugh, fps=10.0)
    assert len(found.landmarks) == 21 and found.frame_rate == 10
    np.testing.assert_allclose(found.landmarks.points[2], laugh.points[5], atol=1e-5)


def test_loop(laugh):
    found = read(laugh, loop=3).landmarks
    assert len(found) == 153
    np.testing.assert_allclose(np.diff(found.times), 1 / 25, atol=1e-9)
    np.testing.assert_array_equal(found.points[102:], laugh.points)


def test_uneven_times_are_kept_exactly(laugh):
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, len(laugh)))
    uneven = dataclasses.replace(laugh, times=times)
    np.testing.assert_array_equal(read(uneven).landmarks.times, times)
    np.testing.assert_array_equal(
        read(uneven, start=1.0, end=2.0).landmarks.times,
        times[(times - times[0] >= 1) & (times - times[0] < 2)],
    )


def test_rest_is_the_calmest_frame_the_one_asked_for_or_the_average(laugh):
    calmest = laugh.blendshapes.sum(1).argmin()
    np.testing.assert_array_equal(read(laugh).neutral.vertices, laugh.vertices[[calmest]])
    np.testing.assert_array_equal(read(laugh, neutral=7).neutral.vertices, laugh.vertices[[7]])
    average = read(laugh, neutral="average").neutral
    assert abs(signals(average)["mouth_opening"][0]) < 0.02
    with pytest.raises(UserError, match=r"motion\.neutral is 51; the driver has frames 0 to 50"):
        read(laugh, neutral=51)


def test_a_single_pose_is_taken_over_as_it_is(laugh):
    """Against the average face, since there is no frame at rest; the head as it is turned."""
    widest = int(signals(laugh)["mouth_opening"].argmax())
    found = read(laugh[widest])
    assert found.absolute and not read(laugh).absolute
    portrait = driver.average_face()
    points = align(portrait, found.landmarks, neutral=found.neutral, head_pose="absolute")
    gap = points[0, 14, 1] - points[0, 13, 1]
    rest = portrait.pixels[0, 14, 1] - portrait.pixels[0, 13, 1]
    assert gap > rest + 10


def test_only_pose_or_only_expression():
    assert MotionConfig().strengths == AS_DRIVEN
    given = Controls(mouth=0.5)
    pose = MotionConfig(only="pose", controls=given).strengths
    assert (pose.expression, pose.gaze, pose.rotation, pose.mouth) == (0, 0, 1, 0.5)
    expression = MotionConfig(only="expression").strengths
    assert (expression.rotation, expression.translation, expression.expression) == (0, 0, 1)


def test_remarks(laugh):
    from tests.landmarks.test_geometry import moved, turn

    assert read(laugh).notes == ()
    face = driver.average_face()
    turned = moved(face, [turn(), turn(30), turn(60), turn(62)], [[0, 0, 0]] * 4)
    (note,) = read(turned).notes
    assert "more than 50 degrees in 2 frames (2-3)" in note
    cut = moved(face, [turn()] * 4, [[0, 0, 0]] * 2 + [[12, 0, 0]] * 2)
    notes = read(dataclasses.replace(cut, times=np.arange(4) / 10)).notes
    assert any("jumps at 0.20 s" in note for note in notes)
    leaving = moved(face, [turn()] * 30, [[2.0 * i, 0, 0] for i in range(30)])
    (note,) = read(leaving).notes
    assert "the face leaves the picture in" in note


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 3.0}, "nothing of the motion lies after motion.start=3"),
        ({"start": 2.0, "end": 1.0}, "the end after the start"),
        ({"start": -1.0}, "motion.start"),
        ({"speed": 0.0}, "motion.speed"),
        ({"speed": float("nan")}, "motion.speed"),
        ({"loop": 0}, "motion.loop"),
        ({"fps": -3.0}, "motion.fps"),
        ({"smooth": -1.0}, "motion.smooth"),
        ({"controls": Controls(mouth=float("nan"))}, "controls.mouth"),
        ({"compat": "release", "only": "pose"}, "has no controls"),
    ],
)
def test_what_can_not_be(laugh, options, said):
    with pytest.raises(UserError, match=said):
        read(laugh, **options)


@pytest.fixture
def crossing(tmp_path) -> Path:
    """A larger and a smaller face; the larger one goes from left to right, behind the other."""
    with Image.open(PORTRAIT) as image:
        face = image.crop((60, 20, 260, 260))
    large, small = face.resize((220, 264)), face.resize((190, 228))
    folder = tmp_path / "crossing"
    with VideoWriter(folder, (360, 640), 25.0) as writer:
        for i in range(12):
            frame = Image.new("RGB", (640, 360), "grey")
            frame.paste(large, (5 + 36 * i, 50))
            frame.paste(small, (235, 80))
            writer.write(np.array(frame))
    return folder


@pytest.mark.usefixtures("landmark_model")
@pytest.mark.parametrize(
    ("options", "total"),
    [({}, 12), ({"end": 0.2}, 5), ({"start": 0.1, "end": 0.4}, 7), ({"frames": 3}, 3)],
)
def test_progress_tells_how_much_of_a_part_there_is(crossing, options, total):
    from emoji_jax.landmarks import Detector

    told = []
    moving = MotionConfig(frame_rate=25.0, **options)
    driver.read(crossing, moving, Detector, lambda *one: told.append(one))
    assert told == [("detecting", i + 1, total) for i in range(total)]


@pytest.mark.usefixtures("landmark_model")
def test_progress_of_frames_that_are_shown_for_different_times(tmp_path):
    """How many there are from some moment on is a guess, which grows where it was too low."""
    from emoji_jax.landmarks import Detector

    with Image.open(PORTRAIT) as image:
        frames = [image.resize((160, 224)).rotate(2 * i) for i in range(6)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[2000] + [20] * 5)
    told = []
    moving = MotionConfig(start=2.0)
    driver.read(path, moving, Detector, lambda *one: told.append(one))
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5]
    assert all(done <= total for _, done, total in told)
    with pytest.raises(UserError, match=r"nothing .* between motion\.start=0\.5 and motion\.end=1"):
        driver.read(path, MotionConfig(start=0.5, end=1.0), Detector, lambda *_: None)


@pytest.mark.usefixtures("landmark_model")
def test_two_people_crossing(crossing):
    """Each is followed by the side on which it starts, or by its size there."""
    large = read(crossing).landmarks.points[..., 0].mean(1)
    small = read(crossing, face=1).landmarks.points[..., 0].mean(1)
    left = read(crossing, face="leftmost").landmarks.points[..., 0].mean(1)
    np.testing.assert_array_equal(left, large)
    assert large[0] < 0.3 and np.abs(small - small[0]).max() < 0.15
    assert any("several faces" in note for note in read(crossing).notes)
    with pytest.raises(UserError, match=r"motion\.face is 5; .* shows faces 0 to 1"):
        read(crossing, face=5)


@pytest.mark.usefixtures("landmark_model")
def test_part_of_a_video_and_its_sound(tmp_path):
    sound = write_sound(tmp_path / "sound.mp4", 1.0)
    with Image.open(PORTRAIT) as image:
        picture = np.array(image)
    with VideoWriter(tmp_path / "d.mp4", picture.shape[:2], 10.0, audio=sound) as writer:
        for i in range(10):
            writer.write(np.roll(picture, i, 1))
    part = read(tmp_path / "d.mp4", start=0.3, end=0.7)
    np.testing.assert_allclose(part.landmarks.times, [0.3, 0.4, 0.5, 0.6], atol=1e-3)
    assert part.audio == tmp_path / "d.mp4"
    faster = read(tmp_path / "d.mp4", speed=2.0)
    assert faster.audio is None and "the sound is left out" in faster.notes[0]


def test_what_was_followed_is_put_in_time_without_looking_again(tmp_path):
    """A video, whole or in part, later or at once: the same motion."""
    with Image.open(PORTRAIT) as image:
        frames = [np.array(image.rotate(4 * i)) for i in range(6)]
    with VideoWriter(tmp_path / "v.mp4", frames[0].shape[:2], 10.0) as writer:
        for frame in frames:
            writer.write(frame)
    from emoji_jax.landmarks import Detector

    def quiet(*_: object) -> None: ...

    def nobody() -> Detector:
        raise AssertionError("looked again")

    track = driver.follow(tmp_path / "v.mp4", MotionConfig(), Detector, quiet)
    moving = MotionConfig(start=0.2, frames=3, speed=0.5)
    later, once = (
        driver.read(track, moving, nobody, quiet),
        read(tmp_path / "v.mp4", **vars(moving)),
    )
    np.testing.assert_array_equal(later.landmarks.points, once.landmarks.points)
    np.testing.assert_array_equal(later.landmarks.times, once.landmarks.times)
    assert (later.notes, later.frame_rate) == (once.notes, once.frame_rate)


def test_which_of_the_drivers_own_frames_is_shown(laugh):
    own = laugh.times
    np.testing.assert_array_equal(read(laugh).moments, own)
    np.testing.assert_array_equal(read(laugh, speed=2.0).moments, own[::2])
    np.testing.assert_array_equal(read(laugh, speed=0.5).moments, np.repeat(own, 2)[:-1])
    np.testing.assert_array_equal(read(laugh, loop=2).moments, np.tile(own, 2))
    cut = read(laugh, start=1.0, fps=5.0)
    np.testing.assert_array_equal(cut.moments, own[25::5])
    assert len(cut.moments) == len(cut.landmarks)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"only": "x"}, "motion.only is 'x'; expected one of '', 'pose', 'expression'"),
        ({"head_pose": "abs"}, "motion.head_pose is 'abs'; expected one of 'auto', 'relative'"),
        ({"neutral": -1}, "motion.neutral is -1; expected auto, average or a number from 0"),
        ({"face": True}, "motion.face is True; expected largest, leftmost or a number from 0"),
        ({"compat": "x"}, "motion.compat is 'x'; expected one of '', 'release'"),
    ],
)
def test_choices_are_checked_from_python(wrong, said):
    moving = MotionConfig(compat="release", neutral=int(np.int64(1)), face=3)
    check_motion(moving)
    vars(moving).update(wrong)  # types are checked in tests, and nowhere else
    with pytest.raises(UserError, match=re.escape(said)):
        check_motion(moving)


def test_numbers_of_other_kinds_are_numbers(laugh):
    check_fields("motion", MotionConfig, {"neutral": np.int64(1), "compat": ""})
    moving = MotionConfig()
    vars(moving).update(
        frames=np.int64(20),
        fps=Fraction(10),
        speed=np.float32(2),
        frame_rate=np.float32(24),
        smooth=np.float64(3),
    )
    check_motion(moving)
    # A checker of types, which only tests have, would not let these pass.
    found = inspect.unwrap(driver.read)(laugh, moving, lambda: None, lambda *_: None)
    assert len(found.landmarks) == 4 and found.frame_rate == 10
