"""Mean absolute difference of pictures."""

import numpy as np
from jaxtyping import Float64, UInt8


def l1(
    frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "F H W 3"]
) -> Float64[np.ndarray, " F"]:
    """Mean absolute difference of each frame, as a fraction of the whole range: 0 to 1."""
    return np.abs(frames.astype(np.float64) - truth).mean((1, 2, 3)) / 255
