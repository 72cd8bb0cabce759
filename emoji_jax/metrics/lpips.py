"""Perceptual distance by the features of a network that looks at pictures."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

from emoji_jax import assets
from emoji_jax.errors import UserError
from emoji_jax.torch_file import TensorFile

WEIGHTS = "stlpips_alex.pth"
HEADS = "lpips_alex.pth"
ALEXNET = "7be5be79"
"""How the SHA-256 of torchvision's AlexNet begins, alexnet-owt-7be5be79.pth."""
Weights = Mapping[str, Array | np.ndarray]

# Of each convolution: its name in the file, and its padding.
_CONVOLUTIONS = (("1.0", 2), ("2.5", 2), ("3.9", 1), ("4.11", 1), ("5.13", 1))
# The second and the third see the features before at half their size.
_HALVED = ("2.5", "3.9")
# The same of AlexNet as torchvision has it, with the stride.
_ALEXNET = (("0", 2, 4), ("3", 2, 1), ("6", 1, 1), ("8", 1, 1), ("10", 1, 1))
_POOLED = ("3", "6")
_BATCH = 8
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)


def heading(alexnet: Path | None = None) -> str:
    """What stands in a table's heading: the substitute is not the LPIPS of the papers."""
    return "LPIPS (AlexNet)" if alexnet else "ST-LPIPS (AlexNet)"


class LPIPS:
    """Perceptual distance: 0 for the same picture, about 0 to 1.

    LPIPS (arXiv 1801.03924) as papers report it, where its network's weights are given; else
    shift-tolerant LPIPS (arXiv 2207.13686), whose weights come with a package, and whose numbers
    can't be compared with theirs.

    Args:
      alexnet: torchvision's AlexNet, trained on ImageNet (`ALEXNET`).

    Raises:
      UserError: weights can't be had, or are others.
    """

    def __init__(self, alexnet: Path | None = None):
        found = load() if alexnet is None else load_alexnet(assets.check(alexnet, ALEXNET))
        self._weights = jax.tree.map(jnp.asarray, found)
        self._features = _features if alexnet is None else _alexnet

    def __call__(
        self, frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "F H W 3"]
    ) -> Float[np.ndarray, " F"]:
        """Distance of each frame from the true one; pictures of at least 48 pixels a side."""
        found = [
            np.asarray(
                distance(
                    self._weights,
                    *map(jnp.asarray, (frames[i : i + _BATCH], truth[i : i + _BATCH])),
                    features=self._features,
                )
            )
            for i in range(0, len(frames), _BATCH)
        ]
        return np.concatenate(found)


def load() -> Weights:
    """The network's weights, for `distance`; raises a UserError if they can't be had."""
    file = TensorFile(assets.fetch(WEIGHTS))
    return {name: file[name] for name in file}


def load_alexnet(path: Path) -> Weights:
    """AlexNet's weights, and those by which LPIPS weighs its features."""
    network, heads = TensorFile(path), TensorFile(assets.fetch(HEADS))
    names = [f"features.{name}.{part}" for name, *_ in _ALEXNET for part in ("weight", "bias")]
    if missing := set(names) - set(network):
        raise UserError(f"{path} is not AlexNet: it has no {min(missing)}")
    return {name: network[name] for name in names} | {name: heads[name] for name in heads}


@functools.partial(jax.jit, static_argnames="features")
def distance(
    weights: Weights,
    a: Num[Array, "F H W 3"],
    b: Num[Array, "F H W 3"],
    features: Callable[[Weights, Array], list[Array]] | None = None,
) -> Float[Array, " F"]:
    """Of pictures of levels 0 to 255; can be differentiated, to train for it."""
    seen, total = features or _features, jnp.zeros(len(a))
    for i, (x, y) in enumerate(zip(seen(weights, a), seen(weights, b), strict=True)):
        square = jnp.square(_normalised(x) - _normalised(y))
        total += (square * weights[f"lin{i}.model.1.weight"][0, :, 0, 0]).sum(-1).mean((1, 2))
    return total


def _shifted(frames: Array) -> Array:
    return (frames.astype(jnp.float32) / 127.5 - 1 - _SHIFT) / _SCALE


def _alexnet(weights: Weights, frames: Array) -> list[Array]:
    x, found = _shifted(frames), []
    for name, padding, stride in _ALEXNET:
        if name in _POOLED:
            x = _largest(x, 2)
        x = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(weights[f"features.{name}.weight"]),
            (stride, stride),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )
        x = jax.nn.relu(x + weights[f"features.{name}.bias"])
        found.append(x)
    return found


def _features(weights: Weights, frames: Array) -> list[Array]:
    x, found = _shifted(frames), []
    for name, padding in _CONVOLUTIONS:
        if name in _HALVED:
            x = _blurred(_largest(x))
        x = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(weights[f"net.slice{name}.weight"]),
            (1, 1),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )
        x += weights[f"net.slice{name}.bias"]
        x = jax.nn.relu(x if found else _blurred(x))
        found.append(x)
    return found


def _largest(x: Array, stride: int = 1) -> Array:
    """The maximum of every 3 x 3."""
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, stride, stride, 1), "VALID"
    )


def _blurred(x: Array) -> Array:
    """Half the size, after a blur with 1 2 1 in both directions; mirrored at the borders."""
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    for axis in (1, 2):
        a, b, c = (jax.lax.slice_in_dim(x, i, x.shape[axis] - 2 + i, 2, axis) for i in range(3))
        x = (a + 2 * b + c) / 4
    return x


def _normalised(x: Array) -> Array:
    # The gradient of a root at zero is no number, and there are pixels where no feature is on.
    square = jnp.sum(jnp.square(x), -1, keepdims=True)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return x / (norm + 1e-10)
