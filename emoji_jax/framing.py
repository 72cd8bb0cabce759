"""Which part of a picture the networks see, and how what they make of it goes back there."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from emoji_jax.errors import UserError, check_fields
from emoji_jax.images import Picture, cut_out, letterbox
from emoji_jax.landmarks import Landmarks, solve
from emoji_jax.landmarks.detect import Choice

# At the networks' size.
Small = UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True)
class FramingConfig:
    """How a portrait is framed.

    Attributes:
      face: which of several faces: "largest", "leftmost", its number from the left, from 0, or
        "all" of them.
      mode: "crop", on the face; "letterbox", all of the picture, with black where it does not fit.
      face_height: chin to forehead, as part of a crop's height; a crop never leaves the picture
        for it.
      paste: put the frames back into the whole picture, at its own size.
      seam: over which part of a crop's sides it passes into the picture around.
    """

    face: Choice | Literal["all"] = "largest"
    mode: Literal["crop", "letterbox"] = "crop"
    face_height: float = 0.5
    paste: bool = True
    seam: float = 0.12

    def __post_init__(self) -> None:
        check_fields("framing", FramingConfig, vars(self))
        if not 0.05 <= self.face_height <= 0.9 or not 0 <= self.seam <= 0.5:
            raise UserError(
                f"framing.face_height is {self.face_height} and framing.seam {self.seam}; expected "
                "0.05 to 0.9 and 0 to 0.5"
            )
        if self.face == "all" and not (self.paste and self.mode == "crop"):
            raise UserError("all faces of a picture need framing.mode=crop and framing.paste")


@dataclasses.dataclass(frozen=True)
class View:
    """What the networks see of a picture: a rectangle of it, at another size.

    Attributes:
      picture: height and width of the picture, pixels.
      left: of the rectangle, may be negative; so may
      top: its upper edge.
      extent: its height and width.
      size: height and width that it is seen at.
      black: whether what it has outside the picture is black, or repeats the picture's edge.
    """

    picture: tuple[int, int]
    left: int
    top: int
    extent: tuple[int, int]
    size: tuple[int, int]
    black: bool = False

    def cut(self, picture: Picture) -> Small:
        """The portrait as the networks see it."""
        if self.black:
            return letterbox(picture, self.size)
        return cut_out(picture, (self.left, self.top), self.extent, self.size)

    def landmarks(self, face: Landmarks) -> Landmarks:
        """A face of the picture as seen here; pose and mesh are solved anew for its camera."""
        height, width = self.picture
        moved = face.points.astype(np.float64) * [width, height, width] - [self.left, self.top, 0]
        points = (moved / [self.extent[1], self.extent[0], self.extent[1]]).astype(np.float32)
        pose, vertices = solve(points, self.size)
        return Landmarks(points, vertices, pose, face.blendshapes, self.size, face.times)

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that it covers."""
        (height, width), (rows, columns) = self.picture, self.extent
        y = slice(max(self.top, 0), min(self.top + rows, height))
        return y, slice(max(self.left, 0), min(self.left + columns, width))

    def part(self, frame: Small) -> UInt8[np.ndarray, "_ _ 3"]:
        """A frame at the picture's scale, as far as it lies inside."""
        rows, columns = self.extent
        whole = np.asarray(Image.fromarray(frame).resize((columns, rows), Image.Resampling.LANCZOS))
        y, x = self.place
        return whole[
            y.start - self.top : y.stop - self.top, x.start - self.left : x.stop - self.left
        ]

    def weights(self, seam: float) -> Float32[np.ndarray, "_ _ 1"]:
        """What the frame counts at each pixel of the picture that it covers.

        It falls off smoothly towards sides that lie inside the picture, and nowhere else.
        """
        (height, width), (rows, columns) = self.picture, self.extent
        along = [_ramp(self.top, rows, height, seam), _ramp(self.left, columns, width, seam)]
        return (along[0][:, None] * along[1])[..., None].astype(np.float32)


def shares(views: Sequence[View], seam: float) -> list[Float32[np.ndarray, "_ _ 1"]]:
    """What each of several views counts at each pixel that it covers.

    Alone, as `View.weights`. Where several lie over each other, each has what is nearest to its
    middle, and so its face: the others show it as it was.
    """
    weights = [view.weights(seam) for view in views]
    if len(views) == 1:
        return weights
    total = np.zeros((*views[0].picture, 1), np.float32)
    claims = [weight * _nearness(view) for view, weight in zip(views, weights, strict=True)]
    for view, claim in zip(views, claims, strict=True):
        total[view.place] += claim
    return [
        weight * claim / np.maximum(total[view.place], 1e-30)
        for view, weight, claim in zip(views, weights, claims, strict=True)
    ]


def _nearness(view: View) -> Float32[np.ndarray, "_ _ 1"]:
    """Of the pixels that a view covers to its middle, falling by half in a hundredth of it."""
    away = [
        (np.arange(part.start, part.stop) + 0.5 - start) / length - 0.5
        for part, start, length in zip(view.place, (view.top, view.left), view.extent, strict=True)
    ]
    square = away[0][:, None] ** 2 + away[1] ** 2
    return np.exp(-100 * square)[..., None].astype(np.float32)


def paste(
    parts: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    views: Sequence[View],
    weights: Sequence[Float32[np.ndarray, "_ _ 1"]],
    picture: Picture,
) -> Picture:
    """Puts what `View.part` made back into the picture, each by what it counts (`shares`)."""
    result = picture.astype(np.float32)
    for part, view, weight in zip(parts, views, weights, strict=True):
        result[view.place] += weight * (part.astype(np.float32) - picture[view.place])
    return np.round(result).clip(0, 255).astype(np.uint8)


def _ramp(start: int, length: int, limit: int, seam: float) -> Float[np.ndarray, " N"]:
    """Weights along one side, at the pixels that are inside the picture."""
    at = np.arange(max(start, 0), min(start + length, limit)) + 0.5
    reach = max(seam * length, 1e-6)
    inward = np.ones_like(at)
    if start > 0:
        inward = np.minimum(inward, (at - start) / reach)
    if start + length < limit:
        inward = np.minimum(inward, (start + length - at) / reach)
    return inward**2 * (3 - 2 * inward)


def whole(picture: tuple[int, int], size: tuple[int, int]) -> View:
    """The view of a whole picture (height, width), with black around it."""
    scale = min(size[0] / picture[0], size[1] / picture[1])
    rows, columns = (max(round(side / scale), 1) for side in size)
    left, top = (picture[1] - columns) // 2, (picture[0] - rows) // 2
    return View(picture, left, top, (rows, columns), size, black=True)


def around(face: Landmarks, size: tuple[int, int], config: FramingConfig) -> View:
    """The view of a face: with some space around it, and inside the picture as far as it can be."""
    picture = face.size
    low, high = face.pixels[0].min(0), face.pixels[0].max(0)
    rows = max((high[1] - low[1]) / config.face_height, 2.0)
    # Inside the picture, as long as all of the face is.
    rows = max(min(rows, picture[0], picture[1] * size[0] / size[1]), 1.1 * (high[1] - low[1]))
    extent = (max(round(rows), 2), max(round(rows * size[1] / size[0]), 2))
    middle = (low + high) / 2
    left, top = (round(float(middle[axis]) - extent[1 - axis] / 2) for axis in range(2))
    return View(
        picture,
        _inside(left, extent[1], picture[1]),
        _inside(top, extent[0], picture[0]),
        extent,
        size,
    )


def _inside(start: int, length: int, limit: int) -> int:
    """Moves a span into the picture, or to its middle where it is longer."""
    return (limit - length) // 2 if length > limit else min(max(start, 0), limit - length)
