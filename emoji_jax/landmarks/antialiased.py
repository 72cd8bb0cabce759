"""Landmarks drawn with soft edges: small pictures tell parts of a pixel, as the paper's 512 do.

In a picture of 128 pixels an open eye is three pixels high. Lines of whole pixels show its lids
at one of three places, and jump when a landmark moves by a hair; soft ones move as it does.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax.landmarks import topology


def draw_antialiased(
    points: Float[np.ndarray, "N 478 2"],
    edges: Int[np.ndarray, "E 2"],
    colours: UInt8[np.ndarray, "E 3"],
    size: tuple[int, int],
    pupil_radius: int | float | None,
) -> UInt8[np.ndarray, "N H W 3"]:
    """Draws lines one pixel wide (Wu 1991) and squares, by how much of each pixel they cover.

    Args:
      points: pixels (x right, y down).
      edges: pairs of landmarks; one is left out if an end of it lies outside the picture.
      colours: of each edge; where lines meet, colours add up.
      size: height and width.
      pupil_radius: half a pupil's side in pixels; None draws none.
    """
    height, width = size
    inside = np.all((points >= 0) & (points <= [width, height]), axis=-1)
    frame, edge = np.nonzero(inside[:, edges].all(-1))
    ends = points[frame[:, None], edges[edge]]
    line, x, y, cover = _covered(ends)
    kept = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    line, x, y, cover = line[kept], x[kept], y[kept], cover[kept]

    pixel = (frame[line] * height + y) * width + x
    count = len(points) * height * width
    canvas = np.stack(
        [np.bincount(pixel, cover * colours[edge[line], c], count) for c in range(3)], -1
    )
    canvas = canvas.astype(np.float64).clip(0, 255).reshape(len(points), height, width, 3)
    if pupil_radius is not None:
        for centres in points[:, topology.PUPILS].swapaxes(0, 1):
            across = _interval(centres[:, 0], pupil_radius, width)
            down = _interval(centres[:, 1], pupil_radius, height)
            cover = (down[:, :, None] * across[:, None])[..., None]
            canvas += cover * (np.array(topology.PUPIL_COLOUR) - canvas)
    return np.round(canvas).astype(np.uint8)


def _covered(
    ends: Float[np.ndarray, "L 2 2"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Line, x, y and share of every pixel that lines cover, which may lie outside the picture.

    Along its longer side a line covers each pixel's part that it passes; across it, it is shared by
    the two pixels whose centres are on both of its sides.
    """
    ends = ends - 0.5  # to where pixels' centres are whole numbers
    along = np.abs(ends[:, 1] - ends[:, 0])
    steep = along[:, 1] > along[:, 0]
    ends = np.where(steep[:, None, None], ends[..., ::-1], ends)
    backward = ends[:, 0, 0] > ends[:, 1, 0]
    ends = np.where(backward[:, None, None], ends[:, ::-1], ends)
    (u0, v0), (u1, v1) = ends[:, 0].T, ends[:, 1].T
    first = np.floor(u0 + 0.5).astype(np.int64)
    steps = np.floor(u1 + 0.5).astype(np.int64) - first + 1

    line = np.repeat(np.arange(len(ends)), steps)
    u = first[line] + np.arange(len(line)) - np.repeat(np.cumsum(steps) - steps, steps)
    low, high = np.maximum(u0[line], u - 0.5), np.minimum(u1[line], u + 0.5)
    slope = (v1 - v0) / np.maximum(u1 - u0, 1e-9)
    v = v0[line] + slope[line] * ((low + high) / 2 - u0[line])
    below = np.floor(v).astype(np.int64)
    share = v - below

    line, u = np.tile(line, 2), np.tile(u, 2)
    v = np.concatenate([below, below + 1])
    cover = np.tile(high - low, 2) * np.concatenate([1 - share, share])
    return line, np.where(steep[line], v, u), np.where(steep[line], u, v), cover


def _interval(
    centres: Float[np.ndarray, " N"], radius: int | float, length: int
) -> Float[np.ndarray, "N L"]:
    """Part of each pixel of a row that lies within a radius of a centre; none if there is none."""
    centres = np.nan_to_num(centres, nan=-1e9)[:, None]
    pixels = np.arange(length)
    low = np.maximum(pixels, centres - radius)
    return np.clip(np.minimum(pixels + 1, centres + radius) - low, 0, None)
