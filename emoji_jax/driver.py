"""What drives a portrait: any kind of motion, read as landmarks and put in time."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from emoji_jax.errors import UserError, check_fields
from emoji_jax.landmarks import Controls, Detector, Landmarks, timing
from emoji_jax.landmarks.controls import AS_DRIVEN
from emoji_jax.landmarks.detect import Choice
from emoji_jax.remarks import ranges, warnings
from emoji_jax.video import Frames, Video, open_video

LANDMARKS = (".npz", ".npy")
"""Suffixes of files that hold landmarks already."""

Progress = Callable[[str, int, int | None], None]


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """How a driver's motion is read and put on the portrait.

    Attributes:
      compat: "release" repeats the released code: its alignment and drawing, its first frame
        dropped, its windows and its rounding.
      head_pose: "relative" to the driver's first frame, "absolute", or "auto": relative, but
        absolute for a driver of one frame.
      neutral: the driver's frame that counts as expressionless, of those that are used; "average"
        takes the average face instead; "auto" the frame with the least expression, or, for a driver
        of one frame, the average face.
      max_gap: frames in a row that may be without a face.
      frame_rate: frames per second of drivers that do not say.
      frames: of the driver, from where it starts; None for all.
      face: which of several faces, where the driver starts: "largest", "leftmost", or its number
        from the left, from 0.
      start: seconds of the driver to leave out.
      end: second of the driver to stop at; None for its end.
      speed: 2 is twice as fast.
      loop: how many times it is repeated in all.
      fps: frames per second of the result; None for the driver's own times.
      smooth: cut-off frequency of the filter against jitter, Hz; 0 for none.
      only: "pose" leaves out expression and gaze, "expression" the head's motion.
      controls: how much of each part.
    """

    compat: Literal["release"] | None = None
    head_pose: Literal["auto", "relative", "absolute"] = "auto"
    neutral: Literal["auto", "average"] | int = "auto"
    max_gap: int = 15
    frame_rate: float = 30.0
    frames: int | None = None
    face: Choice = "largest"
    start: float = 0.0
    end: float | None = None
    speed: float = 1.0
    loop: int = 1
    fps: float | None = None
    smooth: float = 0.0
    only: Literal["", "pose", "expression"] = ""
    controls: Controls = AS_DRIVEN

    @property
    def strengths(self) -> Controls:
        """The controls, less what is left out."""
        left_out = {
            "": (),
            "pose": ("expression", "gaze"),
            "expression": ("rotation", "translation"),
        }
        return dataclasses.replace(self.controls, **dict.fromkeys(left_out[self.only], 0.0))


@dataclasses.dataclass(frozen=True)
class Track:
    """A face followed through a motion: from here on, no picture has to be looked at any more.

    Attributes:
      landmarks: at the motion's own times.
      name: what remarks call it.
      audio: the file if it has sound.
      notes: remarks so far.
    """

    landmarks: Landmarks
    name: str
    audio: Path | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Driver:
    """A motion and what comes with it.

    Attributes:
      landmarks: of every frame of the result.
      neutral: the face at rest, one frame.
      absolute: whether the head is turned as in the driver's picture.
      frame_rate: frames per second, on average.
      audio: the file if it has sound that fits.
      notes: what the user should know about it.
      moments: which of the motion's own frames each is, or follows: when that is shown there,
        seconds.
    """

    landmarks: Landmarks
    neutral: Landmarks
    absolute: bool
    frame_rate: Fraction
    audio: Path | None
    notes: tuple[str, ...]
    moments: Float64[np.ndarray, " F"]


Pictures = UInt8[np.ndarray, "F H W 3"]
"""A video's frames, RGB, `MotionConfig.frame_rate` of them a second."""

Motion = str | Path | Pictures | Landmarks | Track | Driver


def read(
    motion: Motion, moving: MotionConfig, detector: Callable[[], Detector], progress: Progress
) -> Driver:
    """Reads a motion and puts it in time.

    Args:
      motion: a video, an animated image, a folder of frames, a single picture (one pose), a
        template (`.npz`, `.npy`), `expression:NAME`, a video's frames, landmarks, what `follow`
        found in the whole of one, which takes milliseconds, or what was read before.
      moving: how.
      detector: gives a detector of faces, if one is needed.
      progress: told ("detecting", done, total or None).

    Raises:
      UserError: unreadable, or without a face for too long.
    """
    if isinstance(motion, Driver):
        return motion
    if isinstance(motion, Track):
        track = dataclasses.replace(motion, landmarks=_part(motion.landmarks, moving))
    else:
        track = follow(motion, moving, detector, progress)
    landmarks, name, audio = track.landmarks, track.name, track.audio
    if not len(landmarks):
        raise _nothing(moving)
    notes = [*track.notes, *warnings(name, landmarks)]
    if moving.smooth:
        landmarks = timing.smooth(landmarks, moving.smooth)
    neutral = _neutral(landmarks, moving)
    absolute = moving.head_pose == "absolute"
    absolute |= moving.head_pose == "auto" and len(landmarks) == 1
    timed, moments = _play(landmarks, moving)
    if audio and (moving.speed != 1 or moving.loop != 1):
        audio, notes = None, [*notes, f"{name}: the sound is left out, as its timing is changed"]
    rate = _average_rate(timed.times, float(moving.fps or moving.frame_rate))
    return Driver(timed, neutral, absolute, rate, audio, tuple(notes), moments)


def follow(
    motion: str | Path | Pictures | Landmarks,
    moving: MotionConfig,
    detector: Callable[[], Detector],
    progress: Progress,
) -> Track:
    """Follows the face through the part of a motion that is used; arguments as `read`."""
    name = str(motion) if isinstance(motion, str | Path) else "the motion"
    if isinstance(motion, str | Path) and Path(motion).suffix.lower() in LANDMARKS:
        motion = Landmarks.load(motion, fps=moving.frame_rate)
    elif isinstance(motion, str | Path) and str(motion).startswith("expression:"):
        motion = expression(str(motion).partition(":")[2], moving.frames)
    if isinstance(motion, Landmarks):
        return Track(_part(motion, moving), name)
    video = pictures(motion, moving.frame_rate)
    if video.length and moving.start and moving.start >= video.length / video.frame_rate:
        raise _nothing(moving)
    used = video.between(moving.start, moving.end)
    first = next(used, None)
    if first is None:
        raise _nothing(moving)
    used = itertools.chain([first], used)
    if moving.frames:
        used = itertools.islice(used, moving.frames)
    total = video.count(moving.start, moving.end)
    if moving.frames:
        total = min(moving.frames, total or moving.frames)
    landmarks, filled, crowded = detector().detect_video(
        used,
        max_gap=moving.max_gap,
        choice=moving.face,
        name=name,
        progress=lambda done: progress(
            "detecting", done, None if total is None else max(done, total)
        ),
    )
    notes = []
    if len(crowded):
        notes.append(
            f"{name}: several faces in {len(crowded)} frames ({ranges(crowded)}); the one "
            f"that is {_named(moving.face)} where it starts is followed"
        )
    if len(filled):
        notes.append(
            f"{name}: no face in {len(filled)} of {len(landmarks)} frames, filled in from their "
            f"neighbours ({ranges(filled)})"
        )
    return Track(landmarks, name, video.audio, tuple(notes))


def pictures(motion: str | Path | Pictures, frame_rate: float = 30.0) -> Video:
    """Opens a motion that is shown in pictures.

    Raises:
      UserError: it can't be, or is the bare name of a built-in motion.
    """
    if isinstance(motion, np.ndarray):
        return Frames(motion, frame_rate)
    from emoji_jax.data.synthetic import EXPRESSIONS

    if str(motion) in EXPRESSIONS and not Path(motion).exists():
        raise UserError(f"{motion} does not exist; the built-in motion is expression:{motion}")
    return open_video(motion, frame_rate=frame_rate)


def _part(landmarks: Landmarks, moving: MotionConfig) -> Landmarks:
    return timing.trim(landmarks, moving.start, moving.end)[: moving.frames or None]


def _nothing(moving: MotionConfig) -> UserError:
    part = f"after motion.start={moving.start}"
    if moving.end is not None:
        part = f"between motion.start={moving.start} and motion.end={moving.end}"
    return UserError(f"nothing of the motion lies {part}, seconds")


def _named(face: Choice) -> str:
    return face if isinstance(face, str) else f"number {face} from the left"


def _neutral(landmarks: Landmarks, moving: MotionConfig) -> Landmarks:
    """The driver's face at rest, one frame."""
    choice = moving.neutral
    if choice == "average" or (choice == "auto" and len(landmarks) == 1 and not moving.compat):
        return average_face()
    if choice == "auto":
        return landmarks[int(landmarks.blendshapes.sum(axis=1, dtype=np.float64).argmin())]
    if not 0 <= choice < len(landmarks):
        raise UserError(
            f"motion.neutral is {choice}; the driver has frames 0 to {len(landmarks) - 1}"
        )
    return landmarks[choice]


def _play(landmarks: Landmarks, moving: MotionConfig) -> tuple[Landmarks, np.ndarray]:
    """The motion at another speed, several times over, at other frames per second; and moments."""
    moments = np.tile(landmarks.times, moving.loop)
    if moving.loop > 1:
        gap = timing.interval(landmarks, 1 / moving.frame_rate)
        length = float(landmarks.times[-1] - landmarks.times[0]) + gap
        landmarks = timing.gather(
            dataclasses.replace(landmarks, times=landmarks.times + i * length)
            for i in range(moving.loop)
        )
    if moving.speed == 1 and not moving.fps:
        return landmarks, moments
    speed = float(moving.speed)
    gap = timing.interval(landmarks, 1 / float(moving.frame_rate))
    gap = 1 / float(moving.fps) if moving.fps else gap
    span = float(landmarks.times[-1] - landmarks.times[0]) / speed
    since = np.arange(math.floor(span / gap + 1e-6) + 1) * gap
    at = landmarks.times[0] + since * speed
    played = dataclasses.replace(timing.resample(landmarks, at), times=landmarks.times[0] + since)
    return played, moments[np.searchsorted(landmarks.times, at + 1e-6, "right") - 1]


def expression(name: str, frames: int | None) -> Landmarks:
    """One of the built-in motions, two seconds long unless told otherwise.

    Raises:
      UserError: there is none of that name.
    """
    from emoji_jax.data import synthetic

    if name not in synthetic.EXPRESSIONS:
        names = ", ".join(synthetic.EXPRESSIONS)
        raise UserError(f"there is no built-in expression {name!r}; expected one of {names}")
    return synthetic.motion(name, frames or 50)


def average_face() -> Landmarks:
    """The average face, looking straight ahead without an expression; one frame."""
    from emoji_jax.data import synthetic

    return synthetic.motion(next(iter(synthetic.EXPRESSIONS)), 2)[0]


def check_motion(moving: MotionConfig) -> None:
    """Raises a UserError for settings that can't work."""
    check_fields("motion", MotionConfig, vars(moving))
    if moving.max_gap < 0:
        raise UserError(f"motion.max_gap is {moving.max_gap}; expected 0 or more")
    if not 0.01 <= moving.frame_rate <= 1000:
        raise UserError(f"motion.frame_rate is {moving.frame_rate}; expected 0.01 to 1000")
    if moving.frames is not None and moving.frames < 0:
        raise UserError(f"motion.frames is {moving.frames}; expected 1 or more, or 0 for all")
    if moving.fps is not None and not 0 <= moving.fps <= 1000:
        raise UserError(f"motion.fps is {moving.fps}; expected more than 0, to 1000")
    if not 0.01 <= moving.speed <= 100:
        raise UserError(f"motion.speed is {moving.speed}; expected 0.01 to 100")
    if not 1 <= moving.loop <= 10000:
        raise UserError(f"motion.loop is {moving.loop}; expected 1 or more")
    if not moving.start >= 0 or (moving.end is not None and not moving.end > moving.start):
        raise UserError(
            f"motion.start is {moving.start} and motion.end {moving.end}; expected seconds, the "
            "end after the start"
        )
    if not 0 <= moving.smooth < math.inf:
        raise UserError(f"motion.smooth is {moving.smooth}; expected Hz, or 0 for none")
    check_fields("controls", Controls, vars(moving.controls))
    strengths = dataclasses.asdict(moving.controls)
    wild = {name: value for name, value in strengths.items() if not abs(value) <= 10}
    if wild:
        name, value = next(iter(wild.items()))
        raise UserError(f"controls.{name} is {value}; expected -10 to 10, 1 for as driven")
    if moving.compat and moving.strengths != AS_DRIVEN:
        raise UserError("motion.compat=release has no controls; take one or the other")


def _average_rate(times: np.ndarray, otherwise: float) -> Fraction:
    seconds = times[-1] - times[0]
    rate = (len(times) - 1) / seconds if seconds > 0 else otherwise
    return Fraction(min(max(rate, 0.01), 1000)).limit_denominator(1001)
