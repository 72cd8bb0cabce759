"""How natural a picture looks, without another to compare it with."""

import functools
import operator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, UInt8

from emoji_jax import assets, pickled

MODEL, RANGES = "brisque_svm.txt", "brisque_normalize.pickle"
NAME = "BRISQUE"
"""What stands in a table's heading: a substitute for the quality of HyperIQA."""

_GREY = np.array([0.2125, 0.7154, 0.0721], np.float32)
_SIGMA, _RADIUS = 7 / 6, 3
_BATCH = 8
_SHAPES = np.linspace(0.2, 10, 9801)
# E|x|² / E x² of generalised normal distributions of these shapes.
_RATIOS = np.exp(
    2 * scipy.special.gammaln(2 / _SHAPES)
    - scipy.special.gammaln(1 / _SHAPES)
    - scipy.special.gammaln(3 / _SHAPES)
).astype(np.float32)


class BRISQUE:
    """BRISQUE (Mittal et al. 2012): about 0 for a natural photograph, 100 for a bad one.

    It was fitted to photographs and knows blur, noise and compression; flat drawings are nothing
    that it has seen.

    Raises:
      UserError: the model can't be had.
    """

    def __init__(self) -> None:
        self._model = _read_model(assets.fetch(MODEL))
        ranges = pickled.read(assets.fetch(RANGES))
        self._low, self._high = (np.array(ranges[k], np.float32) for k in ("min_", "max_"))

    def __call__(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float[np.ndarray, " F"]:
        """Of each frame; lower is better."""
        found = [
            self._score(np.asarray(features(jnp.asarray(frames[i : i + _BATCH]))))
            for i in range(0, len(frames), _BATCH)
        ]
        return np.concatenate(found)

    def _score(self, seen: Float[np.ndarray, "F 36"]) -> Float[np.ndarray, " F"]:
        """A support vector regression with Gaussian kernels."""
        gamma, rho, weights, vectors = self._model
        x = -1 + 2 * (seen - self._low) / (self._high - self._low)
        distance = np.square(x[:, None].astype(np.float64) - vectors).sum(-1)
        return np.exp(-gamma * distance) @ weights - rho


def _read_model(path: Path) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Gamma, rho, weights [N] and support vectors [N 36] of libsvm's text format."""
    head, _, body = path.read_text().partition("SV\n")
    told = dict(line.split(maxsplit=1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines()]
    vectors = np.zeros((len(rows), 36))
    for vector, (_, *items) in zip(vectors, rows, strict=True):
        for item in items:
            number, _, value = item.partition(":")
            vector[int(number) - 1] = float(value)
    return float(told["gamma"]), float(told["rho"]), np.array([float(r[0]) for r in rows]), vectors


@jax.jit
def features(frames: UInt8[Array, "F H W 3"]) -> Float[Array, "F 36"]:
    """Shapes and spreads of the distributions of brightness, and of neighbours' products."""
    grey = (frames.astype(jnp.float32) / 255) @ _GREY
    return jnp.concatenate([_features(grey), _features(_halved(grey))], -1)


def _features(grey: Float[Array, "F H W"]) -> Float[Array, "F 18"]:
    mean = _blurred(grey)
    deviation = jnp.sqrt(jnp.abs(mean**2 - _blurred(grey**2)))
    x = (grey - mean) / (deviation + 1 / 255)
    shape, _, left, right = _fit(x)
    found = [shape, (left + right) / 2]
    for product in (
        x[:, :, :-1] * x[:, :, 1:],
        x[:, :-1] * x[:, 1:],
        x[:, :-1, :-1] * x[:, 1:, 1:],
        x[:, 1:, :-1] * x[:, :-1, 1:],
    ):
        found += _fit(product)
    return jnp.stack(found, -1)


def _fit(x: Float[Array, "F H W"]) -> list[Float[Array, " F"]]:
    """Shape, mean, and squared spreads to both sides, of asymmetric generalised normals."""
    negative = x < 0
    count = jnp.maximum(negative.sum((1, 2)), 1), jnp.maximum((~negative).sum((1, 2)), 1)
    left = jnp.where(negative, x**2, 0).sum((1, 2)) / count[0]
    right = jnp.where(negative, 0, x**2).sum((1, 2)) / count[1]
    ratio = jnp.abs(x).mean((1, 2)) ** 2 / jnp.maximum((x**2).mean((1, 2)), 1e-12)
    skew = jnp.sqrt(left / jnp.maximum(right, 1e-12))
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = jnp.interp(wanted, _RATIOS, _SHAPES.astype(np.float32))
    log = jax.scipy.special.gammaln
    unit = jnp.exp(log(2 / shape) - 0.5 * log(1 / shape) - 0.5 * log(3 / shape))
    return [shape, (jnp.sqrt(right) - jnp.sqrt(left)) * unit, left, right]


def _blurred(grey: Float[Array, "F H W"]) -> Float[Array, "F H W"]:
    """A Gaussian of 7 x 7; black outside the picture."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    x = jnp.pad(grey, ((0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS)))
    for axis in (1, 2):
        size = x.shape[axis] - 2 * _RADIUS
        shifted = (
            float(w) * jax.lax.slice_in_dim(x, i, i + size, axis=axis)
            for i, w in enumerate(weights)
        )
        x = functools.reduce(operator.add, shifted)
    return x


def _halved(grey: Float[Array, "F H W"]) -> Float[Array, "F h w"]:
    """Half the size, by cubic interpolation in the middle between four pixels."""
    x = jnp.pad(grey, ((0, 0), (1, 3), (1, 3)), "edge")
    for axis, count in ((1, round(grey.shape[1] / 2)), (2, round(grey.shape[2] / 2))):
        shifted = (
            w * jax.lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis)
            for i, w in enumerate((-0.09375, 0.59375, 0.59375, -0.09375))
        )
        x = functools.reduce(operator.add, shifted)
    return x
