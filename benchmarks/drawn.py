"""Weights without drawing billions of numbers: each array is a part of one block of them."""

import functools
import math
import zlib

import numpy as np

# More than the largest kernel has.
_SIZE = 2**25


@functools.cache
def _block() -> np.ndarray:
    return 2 * np.random.default_rng(0).random(_SIZE, np.float32) - 1


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers that keep activations at their size, the same for a name and shape."""
    size = math.prod(shape)
    start = zlib.crc32(name.encode()) % (_SIZE - size + 1)
    drawn = _block()[start : start + size].reshape(shape)
    if len(shape) > 1:
        return drawn * np.float32(math.sqrt(3 / math.prod(shape[:-1])))
    return np.float32("scale" in name) + np.float32(0.1) * drawn
