"""The two masks of the facial fine-grained loss (arXiv 2406.01900, section 3.2)."""

import math

import numpy as np
from jaxtyping import Float, UInt8

from emoji_jax.landmarks import topology
from emoji_jax.landmarks.render import line_pixels

_ONE = 1 << 16  # x along a polygon's sides is kept in 1/65536 of a pixel


def face_mask(
    points: Float[np.ndarray, "*F 478 2"], size: tuple[int, int], factor: int = 1
) -> UInt8[np.ndarray, "*F h w"]:
    """Returns 1 inside the face contour, closed straight from temple to temple, and 0 elsewhere.

    Coordinates (pixels) are cut to whole numbers, the contour itself belongs to the mask.

    Args:
      points: pixels.
      size: height and width of the picture.
      factor: picture size over the mask's; see `expression_mask`.

    Raises:
      ValueError: the factor does not divide the sides.
    """
    *leading, count, _ = points.shape
    cells = _cells(size, factor)
    ring = np.asarray(points, np.float64).reshape(-1, count, 2)[:, list(topology.FACE_RING)]
    masks = [fill_polygon(polygon, size, factor) for polygon in ring]
    return np.array(masks, np.uint8).reshape(*leading, *cells)


def expression_mask(
    points: Float[np.ndarray, "*F 478 2"], size: tuple[int, int], radius: int, factor: int = 1
) -> UInt8[np.ndarray, "*F h w"]:
    """Returns 1 within `radius` pixels of a landmark that is drawn, and 0 elsewhere.

    Those are the ends of the drawn edges and the pupils. A landmark outside the picture still marks
    what lies within its radius.

    Args:
      points: pixels.
      size: height and width of the picture.
      radius: pixels.
      factor: picture size over the mask's. A latent counts if any of its pixels does: majority
        would lose thin parts, such as a closed mouth, of which no latent may be half covered.

    Raises:
      ValueError: the factor does not divide the sides.
    """
    height = size[0]
    *leading, count, _ = points.shape
    cells = _cells(size, factor)
    points = np.asarray(points, np.float64).reshape(-1, count, 2)[:, topology.DRAWN_POINTS]
    # Far enough outside to mark nothing, near enough for whole numbers.
    centres = np.floor(points.clip(-2 * radius - 2, max(size) + 2 * radius + 2)).astype(np.int64)
    # A disc is a span in each of its rows.
    down = np.arange(-radius, radius + 1)
    reach = np.array([math.isqrt(radius**2 - int(dy) ** 2) for dy in down])
    masks = []
    for x, y in np.moveaxis(centres, -1, 1)[..., None]:
        row, left, right = np.broadcast_arrays(y + down, x - reach, x + reach + 1)
        visible = (row >= 0) & (row < height)
        masks.append(_fill_spans(row[visible], left[visible], right[visible], size, factor))
    return np.array(masks, np.uint8).reshape(*leading, *cells)


def _cells(size: tuple[int, int], factor: int) -> tuple[int, int]:
    height, width = size
    if height % factor or width % factor:
        raise ValueError(f"a mask of {height}x{width} cannot be divided by {factor}")
    return height // factor, width // factor


def fill_polygon(
    polygon: Float[np.ndarray, "P 2"], size: tuple[int, int], factor: int = 1
) -> UInt8[np.ndarray, "h w"]:
    """Fills a polygon by the even-odd rule, its outline included, with OpenCV's rounding.

    The same pixels as `cv2.fillPoly(zeros, [polygon.astype(int32)], 1)`: the outline as Bresenham
    lines, and in each row, from the upper end of a side to just above the lower one, the whole
    pixels between the first and second, third and fourth, ... crossing. A side's slope is cut to
    1/65536 of a pixel per row. Sides that leave the picture are cut off at its border first.

    With a factor, squares of so many pixels a side become one: 1 if any of its pixels is.
    """
    height, width = size
    mask = np.zeros(_cells(size, factor), np.uint8)
    # Bounded so that products of two coordinates fit 64 bits; nothing that far out is visible.
    end = np.trunc(np.nan_to_num(polygon).clip(-(2**20), 2**20)).astype(np.int64)
    start = np.roll(end, 1, axis=0)

    line = np.stack([start, end], axis=1)
    visible = np.ones(len(line), bool)
    for i in np.flatnonzero(((line < 0) | (line >= [width, height])).any(axis=(1, 2))):
        line[i], visible[i] = _clip_line(line[i].tolist(), size)
    x, y, _ = line_pixels(line[visible, 0], line[visible, 1])
    mask[y // factor, x // factor] = 1

    # The line on which a side's crossings lie: the clipped one; but where clipping left a single
    # row, OpenCV keeps the side's own rows beside the clipped columns, and so does this.
    one_row = line[:, 0, 1] == line[:, 1, 1]
    line[one_row, :, 1] = np.stack([start, end], axis=1)[one_row, :, 1]
    slanted = start[:, 1] != end[:, 1]
    line, upper, lower = line[slanted], start[slanted, 1], end[slanted, 1]
    upper, lower = np.minimum(upper, lower), np.maximum(upper, lower)
    rise = line[:, 1] - line[:, 0]
    slope = np.sign(rise[:, 0] * rise[:, 1]) * (np.abs(rise[:, 0] * _ONE) // np.abs(rise[:, 1]))

    rows = np.arange(height)
    crossings = line[:, :1, 0] * _ONE + (rows - line[:, :1, 1]) * slope[:, None]
    crossed = (upper[:, None] <= rows) & (rows < lower[:, None])
    # Sides come in pairs in every row, so sorting the others to the end keeps pairs together.
    never = np.iinfo(np.int64).max
    crossings = np.sort(np.where(crossed, crossings, never), axis=0)[: len(line) // 2 * 2]
    first, last = crossings[::2], crossings[1::2]
    spans = last < never
    _, row = np.nonzero(spans)
    left, right = -(-first[spans] // _ONE), last[spans] // _ONE + 1
    return mask | _fill_spans(row, left, right, size, factor)


def _fill_spans(
    row: np.ndarray, left: np.ndarray, right: np.ndarray, size: tuple[int, int], factor: int
) -> np.ndarray:
    """Returns a mask of the pixels from `left` to just before `right`, for each span of a row."""
    width = size[1]
    left, right = left.clip(0, width), right.clip(0, width)
    filled = left < right  # a side's rounding may leave nothing between two crossings
    row, left, right = row[filled] // factor, left[filled] // factor, -(-right[filled] // factor)
    # Entering a span counts one up, leaving it one down: inside is where the sum is above zero.
    height, width = _cells(size, factor)
    depth = np.zeros((height, width + 1), np.int32)
    np.add.at(depth, (row, left), 1)
    np.add.at(depth, (row, right), -1)
    return (depth[:, :width].cumsum(axis=1) > 0).astype(np.uint8)


def _clip_line(ends: list[list[int]], size: tuple[int, int]) -> tuple[list[list[int]], bool]:
    """Cuts a line from one end to the other off at the picture's border (Cohen-Sutherland).

    Returns its ends, and whether any of it is visible. OpenCV goes on to use the ends of lines that
    are not, half cut as they may be: hence its steps and its truncation here, in its order.
    """
    bottom, right = int(size[0]) - 1, int(size[1]) - 1
    ends = [list(end) for end in ends]

    def sides() -> list[tuple[int, int]]:
        """-1, 0 or 1 for either end: where it lies across and down."""
        return [((x > right) - (x < 0), (y > bottom) - (y < 0)) for x, y in ends]

    def beyond_one_side() -> bool:
        (x1, y1), (x2, y2) = sides()
        return (x1 == x2 != 0) or (y1 == y2 != 0)

    for axis, limit in ((1, bottom), (0, right)):
        if beyond_one_side():
            return ends, False
        for moving in range(2):
            side = sides()[moving][axis]
            if side:
                (a, b), border = ends, limit if side > 0 else 0
                here, other = ends[moving], 1 - axis
                along = (border - here[axis]) * (b[other] - a[other]) / (b[axis] - a[axis])
                here[other] += int(along)
                here[axis] = border
    return ends, sides() == [(0, 0), (0, 0)]
