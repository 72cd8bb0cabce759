"""A portrait moved with its landmarks: a hint for small networks, of what goes where.

Networks of full size learn from the portrait's features alone where its parts belong; one that is
trained for hours on a CPU does not come so far, and begins with this instead.
"""

import functools

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8

from emoji_jax.landmarks import topology

# Displacements are computed at points so many pixels apart, and interpolated between them.
_STEP = 3
# All that is drawn, the face's outline, and some of what lies between.
_MOVING = sorted(
    {i for chain, _ in topology.DRAWN for i in chain}
    | {*topology.FACE_RING, *topology.PUPILS}
    | set(range(0, 468, 5))
)
# Around the picture, in parts of its sides: nothing moves there.
_BORDER = np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)])
# A distance under which a landmark's displacement is taken as it is, as a part of the height.
_NEAR = 0.012


def warp(
    picture: UInt8[np.ndarray, "H W 3"],
    own: Float[np.ndarray, "478 2"],
    points: Float[np.ndarray, "N 478 2"],
) -> UInt8[np.ndarray, "N H W 3"]:
    """Pictures with the portrait's landmarks at other places, and all else between them.

    Displacements are means over all landmarks and the border, weighted by the inverse fourth power
    of their distance (Shepard 1968).

    Args:
      picture: the portrait.
      own: its landmarks, pixels (x right, y down).
      points: where they shall be.
    """
    height, width = picture.shape[:2]
    border = _BORDER * [width, height]
    source = np.concatenate([own[_MOVING], border])
    across, down = _between(width), _between(height)
    nodes = np.stack(np.meshgrid(_nodes(width), _nodes(height)), -1)
    y, x = np.mgrid[:height, :width]
    channels, made = picture.transpose(2, 0, 1).astype(np.float32), []
    limit = 4.0 * max(height, width)
    for target in np.nan_to_num(points[:, _MOVING], nan=-limit).clip(-limit, limit):
        target = np.concatenate([target, border])
        away = np.square(nodes[:, :, None] - target).sum(-1)
        weights = 1 / np.square(away + (_NEAR * height) ** 2)
        moved = weights @ (source - target) / weights.sum(-1, keepdims=True)
        back = np.einsum("yi,ijc,xj->cyx", down, moved, across, optimize=True)
        place = [y + back[1], x + back[0]]
        frame = [scipy.ndimage.map_coordinates(c, place, order=1, mode="nearest") for c in channels]
        made.append(np.stack(frame, -1))
    made = np.stack(made) if made else np.empty((0, height, width, 3))
    return np.round(made).astype(np.uint8)


def _nodes(length: int) -> Float[np.ndarray, " M"]:
    return np.linspace(0, length, max(length // _STEP, 1) + 1)


@functools.cache
def _between(length: int) -> Float[np.ndarray, "L M"]:
    """Weights of linear interpolation from nodes to the centres of pixels."""
    nodes = _nodes(length)
    distance = np.abs(np.arange(length)[:, None] + 0.5 - nodes) / (nodes[1] - nodes[0])
    return np.maximum(1 - distance, 0)
