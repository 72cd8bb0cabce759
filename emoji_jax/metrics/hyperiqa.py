"""How natural pictures look, by a network that was asked to judge as people do."""

import functools
import itertools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from emoji_jax import assets
from emoji_jax.errors import UserError
from emoji_jax.torch_file import TensorFile

START = "c96c41b1"
"""How the SHA-256 of the weights begins, HyperIQA-resnet50-koniq10k-c96c41b1.pth."""
NAME = "HyperIQA"
Weights = Mapping[str, Array | np.ndarray]

# The side that the network wants, and how many crops of a picture there are each way.
SIDE, _CROPS = 224, 5
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# ResNet-50 (arXiv 1512.03385): blocks of each stage.
_BLOCKS = (3, 4, 6, 3)
# Layers of the small network that another one makes for each picture: inputs of the first, then
# outputs of all.
_WIDTHS = (224, 112, 56, 28, 14, 1)


class HyperIQA:
    """Mean opinion, about 0 to 100, more is better (HyperIQA, CVPR 2020, trained on KonIQ-10k).

    The file's network was trained for 0 to 1, papers report a hundred times that. A picture's is
    the mean over 5 x 5 crops of 224 pixels; smaller pictures are enlarged.

    Args:
      weights: the file that `START` tells.

    Raises:
      UserError: it is another one.
    """

    def __init__(self, weights: Path):
        self._weights = jax.tree.map(jnp.asarray, load(assets.check(weights, START)))

    def __call__(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float[np.ndarray, " F"]:
        """Of each frame."""
        shares = [float(score(self._weights, crops(frame)).mean()) for frame in frames]
        return 100 * np.array(shares)


def load(path: Path) -> Weights:
    """The network's weights; raises a UserError for a file of another network."""
    file = TensorFile(path)
    found = {name: file[name] for name in file if not name.endswith("num_batches_tracked")}
    if missing := {"base_model.layer4.2.conv3.weight", "fc_b_modules.4.2.bias"} - set(found):
        raise UserError(f"{path} is not HyperIQA: it has no {min(missing)}")
    return found


def crops(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "N 224 224 3"]:
    """Squares spread evenly over a picture; one where it is no larger."""
    larger = max(SIDE / min(frame.shape[:2]), 1)
    if larger > 1:
        height, width = (max(round(n * larger), SIDE) for n in frame.shape[:2])
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        frame = np.asarray(image)
    top, left = (
        np.unique(np.linspace(0, n - SIDE, _CROPS).round().astype(int)) for n in frame.shape[:2]
    )
    return np.stack([frame[y : y + SIDE, x : x + SIDE] for y in top for x in left])


@jax.jit
def score(weights: Weights, pictures: UInt8[Array, "N 224 224 3"]) -> Float[Array, " N"]:
    """What the network says of squares of 224 pixels."""
    x = (pictures.astype(jnp.float32) / 255 - _MEAN) / _DEVIATION
    stages = _resnet(weights, x)
    seen = jnp.concatenate([_distortion(weights, i, x) for i, x in enumerate(stages)], -1)
    content = stages[-1]
    for i in (0, 2, 4):
        content = jax.nn.relu(_conv(weights, f"conv1.{i}", content))
    for i, (inputs, outputs) in enumerate(itertools.pairwise(_WIDTHS)):
        kernel = _made(weights, i, content).reshape(-1, outputs, inputs)
        bias = _linear(weights, f"fc_b_modules.{i}.2", content.mean((1, 2)))
        seen = jnp.einsum("ni,noi->no", seen, kernel) + bias
        seen = jax.nn.sigmoid(seen) if outputs > 1 else seen
    return seen[:, 0]


def _made(weights: Weights, i: int, content: Array) -> Array:
    """The numbers of a layer's matrix, in the order that they were trained in."""
    if i == 4:
        return _linear(weights, "fc_w_modules.4.2", content.mean((1, 2)))
    return _conv(weights, f"fc_w_modules.{i}", content, padding=1).transpose(0, 3, 1, 2)


def _distortion(weights: Weights, i: int, x: Array) -> Array:
    """Of a stage of the ResNet, means over squares of 7 x 7."""
    last = i == 3
    if not last:
        x = _conv(weights, f"lda_modules.{i}.0", x)
    n, h, w, c = x.shape
    x = x.reshape(n, h // 7, 7, w // 7, 7, c).mean((2, 4)).transpose(0, 3, 1, 2)
    return _linear(weights, f"lda_modules.{i}.{2 if last else 3}", x.reshape(n, -1))


def _resnet(weights: Weights, x: Array) -> list[Array]:
    """ResNet-50's four stages."""
    normalised = functools.partial(_normalised, weights)
    x = jax.nn.relu(normalised("bn1", _conv(weights, "base_model.conv1", x, 2, 3)))
    x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    )
    stages = []
    for stage, blocks in enumerate(_BLOCKS, 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = x
            for number, (step, padding) in enumerate(((1, 0), (stride, 1), (1, 0)), 1):
                y = _conv(weights, f"base_model.{name}.conv{number}", y, step, padding)
                y = normalised(f"{name}.bn{number}", y)
                y = jax.nn.relu(y) if number < 3 else y
            if block == 0:
                x = _conv(weights, f"base_model.{name}.downsample.0", x, stride)
                x = normalised(f"{name}.downsample.1", x)
            x = jax.nn.relu(x + y)
        stages.append(x)
    return stages


def _conv(weights: Weights, name: str, x: Array, stride: int = 1, padding: int = 0) -> Array:
    x = jax.lax.conv_general_dilated(
        x,
        jnp.asarray(weights[f"{name}.weight"]),
        (stride, stride),
        ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )
    return x + weights[f"{name}.bias"] if f"{name}.bias" in weights else x


def _linear(weights: Weights, name: str, x: Array) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normalised(weights: Weights, name: str, x: Array) -> Array:
    """Batch normalisation with the statistics of training."""
    scale, shift, mean, variance = (
        weights[f"base_model.{name}.{part}"]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) * (scale * jax.lax.rsqrt(variance + 1e-5)) + shift
