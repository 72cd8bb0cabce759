"""What of a result stands still is taken from the portrait itself.

The autoencoder blurs, and what a small network makes of a background wavers. Where a frame is what
the autoencoder makes of the portrait, but for noise, nothing has moved, and the portrait's own
pixels are the better ones.
"""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

# Side of the square that differences are averaged over, as a part of the picture's.
_AROUND = 1 / 18


def keep_standing(
    frames: UInt8[np.ndarray, "F H W 3"],
    portrait: UInt8[np.ndarray, "H W 3"],
    decoded: UInt8[np.ndarray, "H W 3"],
    threshold: float,
) -> UInt8[np.ndarray, "F H W 3"]:
    """Frames with the portrait's pixels where they hardly differ from it.

    Args:
      frames: a result.
      portrait: what was animated.
      decoded: the same, through the autoencoder.
      threshold: mean difference around a pixel, as a part of the range of levels, up to which it is
        the portrait's; from twice as much on it is the frame's.
    """
    side = max(1, round(_AROUND * portrait.shape[0])) | 1
    differences = np.abs(frames.astype(np.float32) - decoded).mean(-1) / 255
    around = ndimage.uniform_filter(differences, (0, side, side), mode="nearest")
    kept: Float[np.ndarray, "F H W 1"] = (2 - around / threshold).clip(0, 1)[..., None]
    return np.round(frames + kept * (portrait.astype(np.float32) - frames)).astype(np.uint8)
