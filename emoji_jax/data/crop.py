"""One square for a whole clip: the face keeps its place and size in it only as far as it is still.

A crop that follows the face from frame to frame would take its motion away, and jitter.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from emoji_jax.errors import UserError
from emoji_jax.images import Picture, cut_out
from emoji_jax.landmarks import Landmarks, solve

# Faces are measured by these parts of all frames, so that a few wrong ones do not count.
_LOW, _HIGH = 0.05, 0.95


@dataclasses.dataclass(frozen=True)
class CropConfig:
    """How clips are cropped.

    Attributes:
      size: side of the pictures that are stored, pixels.
      face: height of the face, chin to forehead, as part of that side.
      border: free at each side of everywhere the face goes, as part of the side.
      smallest_part: a face that would be less of the side moves too far for one crop.
      smallest_face: height in the original, pixels; smaller ones are not worth enlarging.
      largest_roll: degrees by which the head may be tilted; beyond, it is upside down.
    """

    size: int = 512
    face: float = 0.6
    border: float = 0.05
    smallest_part: float = 0.3
    smallest_face: int = 64
    largest_roll: float = 75.0

    def __post_init__(self) -> None:
        if self.size < 16 or not 0 < self.smallest_part <= self.face < 1:
            raise UserError(
                f"config.crop asks for pictures of {self.size} pixels with faces of {self.face} of "
                f"them, at least {self.smallest_part}; expected 16 or more, and parts below 1"
            )


@dataclasses.dataclass(frozen=True)
class Box:
    """A square in a picture, pixels; it may reach over the picture's edges."""

    left: int
    top: int
    side: int


def choose_box(
    pixels: Float[np.ndarray, "F K 2"], size: tuple[int, int], config: CropConfig
) -> Box | str:
    """The square that shows a face throughout a clip, or why there is none.

    Args:
      pixels: landmarks in all frames.
      size: height and width of the picture.
      config: what is wanted.
    """
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    height = float(np.median(high[:, 1] - low[:, 1]))
    if height < config.smallest_face:
        return "face too small"
    tallest = float(np.quantile(high[:, 1] - low[:, 1], _HIGH))
    first, last = np.quantile(low, _LOW, axis=0), np.quantile(high, _HIGH, axis=0)
    reach = float((last - first).max()) / (1 - 2 * config.border)
    side = max(tallest / config.face, reach)
    if side > min(size):
        # A little less space around the face is better than invented borders.
        side = max(float(min(size)), reach)
    if height / side < config.smallest_part:
        return "face moves too far"
    side = max(round(side), 1)
    left, top = (round(float(c) - side / 2) for c in (first + last) / 2)
    return Box(_inside(left, side, size[1]), _inside(top, side, size[0]), side)


def _inside(start: int, side: int, limit: int) -> int:
    """Moves a span into the picture, or to its middle where it is longer."""
    return (limit - side) // 2 if side > limit else min(max(start, 0), limit - side)


def crop(frame: Picture, box: Box, size: int) -> UInt8[np.ndarray, "side side 3"]:
    """Cuts out a square and resizes it; what lies outside repeats the picture's edge."""
    return cut_out(frame, (box.left, box.top), (box.side, box.side), (size, size))


def crop_landmarks(
    points: Float[np.ndarray, "F 478 3"],
    blendshapes: Float[np.ndarray, "F 51"],
    times: Float[np.ndarray, " F"],
    size: tuple[int, int],
    box: Box,
    crop_size: int,
) -> Landmarks:
    """Landmarks as the crop shows them; head pose and mesh are solved for its camera anew.

    Args:
      points: in the whole picture, as in `Landmarks`.
      blendshapes: scores.
      times: seconds; the first becomes 0.
      size: height and width of the whole picture.
      box: the crop.
      crop_size: its side as stored.
    """
    height, width = size
    moved = points.astype(np.float64) * [width, height, width] - [box.left, box.top, 0]
    moved = (moved / box.side).astype(np.float32)
    shape = (crop_size, crop_size)
    pose, vertices = solve(moved, shape)
    start = np.asarray(times - times[0], np.float64)
    return Landmarks(moved, vertices, pose, blendshapes.astype(np.float32), shape, start)


def roll(landmarks: Landmarks) -> float:
    """Degrees by which the head is tilted in its picture, the clip's median; 180 is upside down."""
    up = landmarks.pose[:, :2, 1]
    return float(np.degrees(np.median(np.abs(np.arctan2(up[:, 0], up[:, 1])))))
