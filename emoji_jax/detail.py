"""Detail that the autoencoder loses is taken from the portrait, moved with its landmarks.

An autoencoder of few latents blurs, and what a small network makes of a background or of hair
wavers. Where a frame is what the autoencoder makes of the moved portrait (`landmarks.warp`), but
for noise, it shows the same, and the portrait's own pixels are the better ones. Where it differs,
as in a mouth that has opened, it knows more than a warp does, and stays.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

# Side of the square that differences are averaged over, as a part of the picture's.
_AROUND = 1 / 18


def restore(
    frames: UInt8[np.ndarray, "F H W 3"],
    moved: UInt8[np.ndarray, "F H W 3"],
    decoded: UInt8[np.ndarray, "F H W 3"],
    threshold: float,
) -> UInt8[np.ndarray, "F H W 3"]:
    """Frames with the moved portrait's pixels where they hardly differ from it.

    Args:
      frames: of a result.
      moved: the portrait with the landmarks of each frame.
      decoded: the same, through the autoencoder.
      threshold: mean difference around a pixel, as a part of the range of levels, up to which it is
        the portrait's; from twice as much on it is the frame's.
    """
    own = frames.astype(np.float32)
    shown = _likeness(own, decoded, threshold)[..., None]
    return np.round(own + shown * (moved - own)).astype(np.uint8)


def _likeness(
    frames: Float32[np.ndarray, "F H W 3"], decoded: UInt8[np.ndarray, "F H W 3"], threshold: float
) -> Float32[np.ndarray, "F H W"]:
    """1 where frames show what is decoded, 0 where they don't."""
    side = max(1, round(_AROUND * frames.shape[1])) | 1
    difference = np.abs(frames - decoded).mean(-1) / 255
    around = ndimage.uniform_filter(difference, side, axes=(1, 2), mode="nearest")
    return (2 - around / threshold).clip(0, 1)
