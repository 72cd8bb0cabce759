"""Draws expression-aware landmarks: what the landmark encoder sees (arXiv 2406.01900, section 3.1).

Lines are one pixel wide and, unless a checkpoint asks for it (`antialiased.py`), not smoothed. They
are set all at once: each edge's pixels follow in closed form from Bresenham's recurrence, and where
lines cross, NumPy keeps the last one written.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from emoji_jax.landmarks import topology
from emoji_jax.landmarks.alignment import align
from emoji_jax.landmarks.antialiased import draw_antialiased
from emoji_jax.landmarks.template import Landmarks

PUPIL_RADIUS = 3 / 512
"""Half a pupil's side, in heights of the picture: of the released ones, 3 pixels of 512."""


def draw(
    points: Float[np.ndarray, "*F 478 2"],
    size: tuple[int, int],
    *,
    contour: bool = False,
    pupils: bool = True,
    pupil_radius: int | float = 3,
    antialiased: bool = False,
    compat: Literal["release"] | None = None,
) -> UInt8[np.ndarray, "*F H W 3"]:
    """Draws landmarks on black: eyes, brows, inner lips and, over them, the pupils.

    An edge is drawn if both its ends lie in the picture; pupils are cut off at its border.

    Args:
      points: pixels (x right, y down), with any number of leading axes.
      size: height and width of the pictures.
      contour: also draws the face contour, under everything else (the paper's ablation).
      pupils: draws the pupils as squares of `2 * pupil_radius` pixels.
      pupil_radius: 3 at the paper's 512 pixels; rounded, but at least 1, unless antialiased.
      antialiased: draws soft edges, for small pictures.
      compat: "release" repeats the released code's pupils near the left and upper border, where
        negative indices count from the other side: they vanish, or appear where no pupil is.

    Returns:
      Pictures, RGB.
    """
    height, width = size
    *leading, count, _ = points.shape
    points = np.asarray(points, np.float64).reshape(-1, count, 2)
    edges, colours = topology.EDGES, topology.EDGE_COLOURS
    if contour:
        below = np.full((len(topology.CONTOUR_EDGES), 3), topology.CONTOUR_COLOUR, np.uint8)
        edges = np.concatenate([topology.CONTOUR_EDGES, edges])
        colours = np.concatenate([below, colours])
    if antialiased:
        radius = pupil_radius if pupils else None
        canvas = draw_antialiased(points, edges, colours, size, radius)
        return canvas.reshape(*leading, height, width, 3)

    canvas = np.zeros((len(points), height, width, 3), np.uint8)
    pixels, inside = to_pixels(points, size)
    visible = inside[:, edges].all(axis=-1)
    frame, edge = np.nonzero(visible)
    ends = pixels[:, edges][visible]
    x, y, line = line_pixels(ends[:, 0], ends[:, 1])
    canvas.reshape(-1, 3)[(frame[line] * height + y) * width + x] = colours[edge[line]]

    if pupils:
        radius = max(1, round(pupil_radius))
        # int() of the released code: towards zero. Bounded, so that no number is too large for it.
        limit = 2.0**31
        centres = np.nan_to_num(points[:, topology.PUPILS], nan=limit).clip(-limit, limit)
        for picture, pair in zip(canvas, np.trunc(centres).astype(np.int64), strict=True):
            for u, v in pair:
                left, top = u - radius, v - radius
                right, bottom = u + radius, v + radius
                if compat != "release":
                    left, top, right, bottom = (max(side, 0) for side in (left, top, right, bottom))
                picture[top:bottom, left:right] = topology.PUPIL_COLOUR
    return canvas.reshape(*leading, height, width, 3)


def draw_aligned(
    reference: Landmarks,
    driver: Landmarks,
    *,
    compat: Literal["release"] | None = None,
    head_pose: Literal["relative", "absolute"] = "relative",
    neutral: Literal["auto"] | int = "auto",
) -> UInt8[np.ndarray, "F H W 3"]:
    """Aligns a driver to a reference (`align`) and draws it at the reference's size.

    With `compat="release"` the driver's first frame is left out, as the released code does: one
    picture fewer than the driver has frames.
    """
    points = align(reference, driver, compat=compat, head_pose=head_pose, neutral=neutral)
    return draw(points[1:] if compat == "release" else points, reference.size, compat=compat)


def to_pixels(
    points: Float[np.ndarray, "*F K 2"], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixel [*F K 2] that each point falls on, and whether it is in the picture.

    As MediaPipe does it: coordinates are normalised and rounded to float32 (its messages hold
    nothing finer), the picture includes its right and lower border, and those belong to the last
    pixel. Pixels of points outside are 0.
    """
    extent = np.array([size[1], size[0]])
    with np.errstate(over="ignore"):  # what float32 cannot hold is outside anyway
        normalised = (points / extent).astype(np.float32).astype(np.float64)
    inside = np.all((normalised >= 0) & (normalised <= 1), axis=-1)
    normalised = np.where(inside[..., None], normalised, 0)
    return np.minimum((normalised * extent).astype(np.int64), extent - 1), inside


def line_pixels(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bresenham's 8-connected lines between whole pixels [N 2], drawn from left to right.

    After i steps along its longer side, a line with sides `long` and `short` has moved
    ceil((2 i short - long) / (2 long)) pixels along its shorter one: halves stay behind.

    Returns:
      x, y and the number of the line, for every pixel of every line, line after line.
    """
    swap = (end[:, 0] < start[:, 0])[:, None]
    start, end = np.where(swap, end, start), np.where(swap, start, end)
    dx, dy = (end - start).T
    down = np.sign(dy)
    dy = np.abs(dy)
    long, short = np.maximum(dx, dy), np.minimum(dx, dy)

    line = np.repeat(np.arange(len(start)), long + 1)
    step = np.arange(len(line)) - np.repeat(np.cumsum(long + 1) - (long + 1), long + 1)
    aside = -((long[line] - 2 * step * short[line]) // np.maximum(2 * long, 1)[line])
    steep = (dy > dx)[line]
    x = start[line, 0] + np.where(steep, aside, step)
    y = start[line, 1] + np.where(steep, step, aside) * down[line]
    return x, y, line
