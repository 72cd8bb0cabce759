"""What drives a portrait: any kind of motion, read as landmarks."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from emoji_jax.errors import UserError
from emoji_jax.landmarks import Detector, Landmarks
from emoji_jax.video import open_video

Motion = str | Path | Landmarks
Progress = Callable[[str, int, int | None], None]


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """How a driver's motion is read and put on the portrait.

    Attributes:
      compat: "release" repeats the released code: its alignment and drawing, its first frame
        dropped, its windows and its rounding.
      head_pose: see `landmarks.align`.
      neutral: see `landmarks.align`.
      max_gap: frames in a row that may be without a face.
      frame_rate: frames per second of drivers that do not say.
      frames: of the driver, from its start; None for all.
    """

    compat: Literal["release"] | None = None
    head_pose: Literal["relative", "absolute"] = "relative"
    neutral: Literal["auto"] | int = "auto"
    max_gap: int = 15
    frame_rate: float = 30.0
    frames: int | None = None


@dataclasses.dataclass(frozen=True)
class Driver:
    """A motion and what comes with it.

    Attributes:
      landmarks: of every frame.
      frame_rate: frames per second, on average.
      audio: the file if it has sound.
      notes: what the user should know about it.
    """

    landmarks: Landmarks
    frame_rate: Fraction
    audio: Path | None = None
    notes: tuple[str, ...] = ()


def read(
    motion: Motion, moving: MotionConfig, detector: Callable[[], Detector], progress: Progress
) -> Driver:
    """Reads a motion.

    Args:
      motion: a video, an animated image, a folder of frames, a single picture (one pose), a
        template (`.npz`, `.npy`), `expression:NAME`, or landmarks.
      moving: how.
      detector: gives a detector of faces, if one is needed.
      progress: told ("detecting", done, total or None).

    Raises:
      UserError: unreadable, or without a face for too long.
    """
    if isinstance(motion, str | Path) and Path(motion).suffix in (".npz", ".npy"):
        motion = Landmarks.load(motion, fps=moving.frame_rate)
    if isinstance(motion, Landmarks):
        return Driver(motion, _average_rate(motion.times, moving.frame_rate))
    if str(motion).startswith("expression:"):
        built_in = expression(str(motion).partition(":")[2], moving.frames)
        return Driver(built_in, _average_rate(built_in.times, moving.frame_rate))
    video = open_video(motion, frames=moving.frames or None, frame_rate=moving.frame_rate)
    landmarks, filled, crowded = detector().detect_video(
        video,
        max_gap=moving.max_gap,
        progress=lambda done: progress("detecting", done, video.length),
    )
    notes = []
    if len(crowded):
        notes.append(
            f"{motion}: several faces in {len(crowded)} frames ({_ranges(crowded)}); the one "
            "that is largest where it starts is followed"
        )
    if len(filled):
        notes.append(
            f"{motion}: no face in {len(filled)} of {len(landmarks)} frames, filled in from their "
            f"neighbours ({_ranges(filled)})"
        )
    return Driver(landmarks, video.frame_rate, video.audio, tuple(notes))


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


def check_motion(moving: MotionConfig) -> None:
    """Raises a UserError for settings that can't work."""
    if moving.max_gap < 0:
        raise UserError(f"motion.max_gap is {moving.max_gap}; expected 0 or more")
    if not 0 < moving.frame_rate <= 1000:
        raise UserError(f"motion.frame_rate is {moving.frame_rate}; expected more than 0, to 1000")
    if moving.frames is not None and moving.frames < 0:
        raise UserError(f"motion.frames is {moving.frames}; expected 1 or more, or 0 for all")


def _average_rate(times: np.ndarray, otherwise: float) -> Fraction:
    seconds = times[-1] - times[0]
    rate = (len(times) - 1) / seconds if seconds > 0 else otherwise
    return Fraction(min(max(rate, 0.01), 1000)).limit_denominator(1001)


def _ranges(numbers: np.ndarray) -> str:
    """`3-5, 9` of 3 4 5 9."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)
