"""What is measured: a checkpoint's results, those of baselines, and other people's."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.interpolate
import scipy.ndimage
from jaxtyping import Float64, UInt8
from PIL import Image

from emoji_jax import animation
from emoji_jax.animator import Animator
from emoji_jax.bench.folder import Bench, Clip, Pair
from emoji_jax.driver import MotionConfig
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig
from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks
from emoji_jax.landmarks.alignment import Alignment
from emoji_jax.sampling import SamplerConfig
from emoji_jax.video import Video, open_video

_SUFFIXES = (".webp", ".mp4", ".gif", ".mov", ".mkv", ".webm", "")
# Around the picture: what lies there stays.
_BORDER = np.array(
    [(x, y) for x in (0.0, 0.5, 1.0) for y in (0.0, 0.5, 1.0) if (x, y) != (0.5, 0.5)]
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A pair with its pictures and landmarks.

    Attributes:
      pair: who by whom.
      portrait: the picture to animate.
      face: its landmarks.
      driver: landmarks of the clip's first frame and of all that are measured.
      truth: the frames that should come out, where they are known.
    """

    pair: Pair
    portrait: Picture
    face: Landmarks
    driver: Landmarks
    truth: Clip | None

    @property
    def _neutral(self) -> Literal["auto"] | int:
        return 0 if self.pair.kind == "self" else "auto"

    @property
    def moving(self) -> MotionConfig:
        """How the motion is transferred: a person's own first frame is the one at rest."""
        return MotionConfig(neutral=self._neutral)

    @property
    def wanted(self) -> Float64[np.ndarray, "F 478 2"]:
        """Where the landmarks should be, pixels; the paper's "input landmarks"."""
        aligned = Alignment(self.face, self.driver, neutral=self._neutral)
        return aligned[np.arange(1, len(self.driver))]


def repeat(task: Task) -> Clip:
    """The portrait, as often as there are frames: what doing nothing measures."""
    return np.repeat(task.portrait[None], len(task.driver) - 1, 0)


def warp(task: Task) -> Clip:
    """The portrait's pixels moved with the landmarks, between them linearly, by triangles."""
    height, width = task.portrait.shape[:2]
    border = _BORDER * [width, height]
    source = np.concatenate([task.face.pixels[0], border])
    y, x = np.mgrid[:height, :width] + 0.5
    frames = []
    for points in task.wanted:
        target = np.concatenate([points, border])
        back = scipy.interpolate.LinearNDInterpolator(target, source)(x, y)
        # Outside of all triangles nothing moves.
        back = np.where(np.isnan(back), np.stack([x, y], -1), back) - 0.5
        channels = [
            scipy.ndimage.map_coordinates(c, [back[..., 1], back[..., 0]], order=1, mode="nearest")
            for c in task.portrait.transpose(2, 0, 1).astype(np.float32)
        ]
        frames.append(np.round(np.stack(channels, -1)).astype(np.uint8))
    return np.stack(frames)


BASELINES: dict[str, Callable[[Task], Clip]] = {"repeated portrait": repeat, "warp": warp}


def animate(
    animator: Animator, tasks: Sequence[Task], sampler: SamplerConfig, size: int, seed: int
) -> Iterator[Clip | UserError]:
    """What a checkpoint makes of some tasks, at the benchmark's size, or why it makes nothing."""
    whole = FramingConfig(mode="letterbox", paste=False)
    animations = [
        animator(
            task.portrait,
            task.driver,
            ref_landmarks=task.face,
            sampler=sampler,
            moving=task.moving,
            framing=whole,
            seed=seed,
        )
        for task in tasks
    ]
    for one in animation.denoised(animations):
        try:
            frames = list(one)[1:]  # the first shows the portrait as it is
        except UserError as error:
            yield error
        else:
            yield np.stack([_resized(frame, size) for frame in frames])


def _resized(frame: Picture, size: int) -> UInt8[np.ndarray, "size size 3"]:
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS))


def find(folder: Path, pair: Pair) -> list[Path]:
    """Where somebody's result of a pair is: one place, if all is well."""
    return [p for s in _SUFFIXES if (p := folder / f"{pair.name}{s}").exists()]


def _refuse_gaps(video: Video, times: Sequence[float]) -> None:
    """Raises a UserError where a frame is missing: one more at the end must not make up for it."""
    files = getattr(video, "files", None)  # of a folder, those that are read
    if files:
        names = [re.findall(r"[0-9]+", path.stem) for path in files]
        numbers = sorted(int(name[-1]) for name in names if name)
        # A number that all names share, as a width, does not count them.
        steps, told = np.diff(numbers if len(set(numbers)) > 1 else []), "a number is left out"
        if len(steps) and not steps.min():
            twice = numbers[int(steps.argmin())]
            raise UserError(f"{video.path} has frame {twice} twice; expected each number once")
    else:
        # Encoders of animated pictures make one frame of two that are the same.
        steps, told = np.diff(times), "a frame is shown longer than others"
    if len(steps) and steps.max() > 1.5 * steps.min():
        raise UserError(f"{video.path} has a gap after frame {int(steps.argmax())}: {told}")


def others(folder: Path, bench: Bench, tasks: Sequence[Task]) -> Iterator[Clip | UserError]:
    """What somebody else made of some tasks, or why there is nothing to measure."""
    for task in tasks:
        try:
            yield read(folder, bench, task.pair)
        except UserError as error:
            yield error


def read(folder: Path, bench: Bench, pair: Pair) -> Clip:
    """A result of somebody else: a video or a folder of frames with the pair's name.

    Raises:
      UserError: missing or there twice, with another number of frames, with gaps, not square, or
        not to be read.
    """
    found = find(folder, pair)
    if not found:
        raise UserError(
            f"{folder} has no result {pair.name}; expected a folder of frames, or a video "
            f"({', '.join(filter(None, _SUFFIXES))})"
        )
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise UserError(f"{folder} has {names}; expected one result of {pair.name}")
    (file,) = found
    video = open_video(file)
    pictures, times = zip(*video, strict=True)
    _refuse_gaps(video, [float(time) for time in times])
    frames = np.stack(pictures)
    height, width = frames.shape[1:3]
    if height != width:
        raise UserError(f"{file} is {width}x{height} pixels; expected squares, of any size")
    if len(frames) == bench.frames + 1:  # with the first frame, which is not measured
        frames = frames[1:]
    if len(frames) != bench.frames:
        raise UserError(
            f"{file} has {len(frames)} frames; expected {bench.frames}, or one more with the "
            "driver's first frame"
        )
    return np.stack([_resized(frame, bench.size) for frame in frames])
