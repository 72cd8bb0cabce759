"""Structural similarity of pictures."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BATCH = 8


def ssim(
    frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "F H W 3"]
) -> Float[np.ndarray, " F"]:
    """SSIM of each frame (Wang et al. 2004): 1 for the same picture, down to -1.

    Gaussian windows of 11 x 11 pixels, inside the picture only, each colour by itself; equal to
    scikit-image's with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.

    Raises:
      ValueError: pictures smaller than a window.
    """
    if min(frames.shape[1:3]) <= 2 * _RADIUS:
        raise ValueError(f"pictures of {frames.shape[1:3]}; expected at least 11 x 11 pixels")
    parts = [
        np.asarray(_ssim(jnp.asarray(frames[i : i + _BATCH]), jnp.asarray(truth[i : i + _BATCH])))
        for i in range(0, len(frames), _BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@jax.jit
def _ssim(a: Array, b: Array) -> Float[Array, " F"]:
    # From the middle of the range: variances are differences of squares, which rounding eats.
    a, b = a.astype(jnp.float32) - 127.5, b.astype(jnp.float32) - 127.5
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + 127.5, mean_b + 127.5
    light = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    shape = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return (light * shape).mean((1, 2, 3))


def _blurred(x: Float[Array, "F H W C"]) -> Float[Array, "F h w C"]:
    """Weighted means over the windows that lie inside the picture."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        size = x.shape[axis] - 2 * _RADIUS
        shifted = (
            float(w) * jax.lax.slice_in_dim(x, i, i + size, axis=axis)
            for i, w in enumerate(weights)
        )
        x = functools.reduce(operator.add, shifted)
    return x
