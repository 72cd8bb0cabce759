"""Building blocks shared by all networks; attribute names follow the diffusers state dicts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from emoji_jax.models import init
from emoji_jax.models.attention import Implementation
from emoji_jax.models.convolution import convolve
from emoji_jax.models.init import Draws


@dataclasses.dataclass(frozen=True)
class Compute:
    """How a network computes; it changes speed and memory, never which weights there are.

    Attributes:
      dtype: of activations and matrix products; parameters, norms and softmax stay fp32.
      attention: see `attention.attend`.
      remat: recompute each block's activations in the backward pass instead of keeping them.
    """

    dtype: DTypeLike = jnp.float32
    attention: Implementation = "auto"
    remat: bool = False

    def __post_init__(self) -> None:
        # By name or by type: they have to compare as equal.
        object.__setattr__(self, "dtype", jnp.dtype(self.dtype))


class GroupNorm(nnx.Module):
    """Group normalisation of each frame by itself, statistics in fp32.

    `nnx.GroupNorm` reduces over every axis but the first and would mix the frames of a clip.
    """

    def __init__(self, channels: int, groups: int, *, eps: float, rngs: Draws):
        self.scale = nnx.Param(jnp.ones((channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.groups, self.eps = groups, eps

    def __call__(self, x: Float[Array, "*B H W C"]) -> Float[Array, "*B H W C"]:
        y = x.astype(jnp.float32).reshape(*x.shape[:-1], self.groups, -1)
        mean = y.mean((-4, -3, -1), keepdims=True)
        var = jnp.square(y - mean).mean((-4, -3, -1), keepdims=True)
        y = ((y - mean) * jax.lax.rsqrt(var + self.eps)).reshape(x.shape)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


def layer_norm(channels: int, compute: Compute, *, rngs: Draws) -> nnx.LayerNorm:
    """LayerNorm as torch computes it: eps 1e-5, two-pass variance, statistics in fp32."""
    stand_in: Any = rngs
    return nnx.LayerNorm(
        channels, epsilon=1e-5, use_fast_variance=False, dtype=compute.dtype, rngs=stand_in
    )


def linear(
    inputs: int, outputs: int, compute: Compute, *, bias: bool = True, rngs: Draws
) -> nnx.Linear:
    """Dense layer in the compute dtype."""
    stand_in: Any = rngs
    return nnx.Linear(
        inputs, outputs, use_bias=bias, dtype=compute.dtype, kernel_init=init.fan_in, rngs=stand_in
    )


def conv(
    inputs: int,
    outputs: int,
    size: int,
    compute: Compute,
    *,
    stride: int = 1,
    padding: tuple[int, int],
    bias: bool = True,
    rngs: Draws,
) -> nnx.Conv:
    """Square convolution, padded alike in both directions."""
    stand_in: Any = rngs
    # The commonest one has a function of its own, which knows what is fast where.
    ours: dict[str, Any] = {}
    if (size, stride, padding) == (3, 1, (1, 1)):
        ours["conv_general_dilated"] = _convolve
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        stride,
        padding=(padding, padding),
        use_bias=bias,
        dtype=compute.dtype,
        kernel_init=init.fan_in,
        rngs=stand_in,
        **ours,
    )


def _convolve(x: Array, kernel: Array, *_: object, **__: object) -> Array:
    return convolve(x, kernel)


def conv3x3(
    inputs: int, outputs: int, compute: Compute, *, stride: int = 1, rngs: Draws
) -> nnx.Conv:
    """3x3 convolution padded by one on every side, as torch does also for stride 2."""
    return conv(inputs, outputs, 3, compute, stride=stride, padding=(1, 1), rngs=rngs)


def zeroed(layer: nnx.Module) -> nnx.Module:
    """The layer with all its parameters zero, so that what it adds starts at nothing."""
    nnx.update(layer, jax.tree.map(jnp.zeros_like, nnx.state(layer, nnx.Param)))
    return layer


def timestep_embedding(t: Int[Array, " B"], size: int) -> Float[Array, "B size"]:
    """Sinusoids of the timestep, cosines first, frequencies 10000^(-i / (size / 2))."""
    half = size // 2
    frequencies = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = t.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


class TimestepEmbedding(nnx.Module):
    """Two-layer perceptron on the timestep's sinusoids."""

    def __init__(self, inputs: int, outputs: int, compute: Compute, *, rngs: Draws):
        self.linear_1 = linear(inputs, outputs, compute, rngs=rngs)
        self.linear_2 = linear(outputs, outputs, compute, rngs=rngs)

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        return self.linear_2(jax.nn.silu(self.linear_1(x)))


class ResnetBlock(nnx.Module):
    """GroupNorm, SiLU, conv, twice, around a skip; the timestep is added in between."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        compute: Compute,
        *,
        groups: int,
        eps: float,
        time_dim: int | None = None,
        rngs: Draws,
    ):
        self.norm1 = GroupNorm(inputs, groups, eps=eps, rngs=rngs)
        self.conv1 = conv3x3(inputs, outputs, compute, rngs=rngs)
        self.time_emb_proj = nnx.data(
            linear(time_dim, outputs, compute, rngs=rngs) if time_dim else None
        )
        self.norm2 = GroupNorm(outputs, groups, eps=eps, rngs=rngs)
        self.conv2 = conv3x3(outputs, outputs, compute, rngs=rngs)
        self.conv_shortcut = nnx.data(
            linear(inputs, outputs, compute, rngs=rngs) if inputs != outputs else None
        )

    def __call__(
        self, x: Float[Array, "B *F H W I"], time: Float[Array, "B T"] | None = None
    ) -> Float[Array, "B *F H W O"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            time = self.time_emb_proj(jax.nn.silu(time))
            y = y + time.reshape(time.shape[0], *(1,) * (y.ndim - 2), -1)
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nnx.Module):
    """Halves height and width by a strided convolution."""

    def __init__(self, channels: int, compute: Compute, *, rngs: Draws):
        self.conv = conv3x3(channels, channels, compute, stride=2, rngs=rngs)

    def __call__(self, x: Float[Array, "*B H W C"]) -> Float[Array, "*B h w C"]:
        return self.conv(x)


def resize_nearest(x: Float[Array, "*B h w C"], height: int, width: int) -> Array:
    """Nearest-neighbour resize as torch does it: source index floor(i h / H)."""
    h, w = x.shape[-3:-1]
    if (height, width) == (2 * h, 2 * w):
        return x.repeat(2, -3).repeat(2, -2)
    rows, columns = jnp.arange(height) * h // height, jnp.arange(width) * w // width
    return x.take(rows, -3).take(columns, -2)


class Upsample(nnx.Module):
    """Nearest-neighbour enlargement, then a convolution."""

    def __init__(self, channels: int, compute: Compute, *, rngs: Draws):
        self.conv = conv3x3(channels, channels, compute, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*B h w C"], size: tuple[int, int] | None = None
    ) -> Float[Array, "*B H W C"]:
        height, width = size or (2 * x.shape[-3], 2 * x.shape[-2])
        return self.conv(resize_nearest(x, height, width))
