"""What of a picture stands still behind a moving head is taken from the portrait itself.

The autoencoder blurs, and what a small network makes of a background wavers. Where a frame is what
the autoencoder makes of the portrait, but for noise, nothing has moved, and the portrait's own
pixels are the better ones. Not so in the face: eyes that open a little differ as little.
"""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

# Side of the square that differences are averaged over, as a part of the picture's.
_AROUND = 1 / 18
# Of the ellipse in which nothing is kept, hair and ears included: its size over that of the face.
_HEAD = 1.6
# Over which part of that it passes over.
_EDGE = 0.25


def keep_standing(
    frame: UInt8[np.ndarray, "H W 3"],
    portrait: UInt8[np.ndarray, "H W 3"],
    decoded: UInt8[np.ndarray, "H W 3"],
    faces: Float[np.ndarray, "2 478 2"],
    threshold: float,
) -> UInt8[np.ndarray, "H W 3"]:
    """A frame with the portrait's pixels where it hardly differs from it, heads left out.

    Args:
      frame: of a result.
      portrait: what was animated.
      decoded: the same, through the autoencoder.
      faces: landmarks of the portrait and of the frame, pixels.
      threshold: mean difference around a pixel, as a part of the range of levels, up to which it is
        the portrait's; from twice as much on it is the frame's.
    """
    side = max(1, round(_AROUND * portrait.shape[0])) | 1
    difference = np.abs(frame.astype(np.float32) - decoded).mean(-1) / 255
    around = ndimage.uniform_filter(difference, side, mode="nearest")
    kept = (2 - around / threshold).clip(0, 1)
    for face in faces:
        kept *= _outside(face, portrait.shape[:2])
    mixed = frame + kept[..., None] * (portrait.astype(np.float32) - frame)
    return np.round(mixed).astype(np.uint8)


def _outside(face: Float[np.ndarray, "478 2"], size: tuple[int, ...]) -> Float[np.ndarray, "H W"]:
    """0 on a head, 1 away from it."""
    low, high = face.min(0), face.max(0)
    axes = np.maximum(_HEAD * (high - low) / 2, 1)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    from_middle = np.hypot(*((np.stack([x, y], -1) - (low + high) / 2) / axes).transpose(2, 0, 1))
    return ((from_middle - 1) / _EDGE).clip(0, 1)
