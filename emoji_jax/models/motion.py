"""Temporal attention: what makes a clip out of frames."""

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute, GroupNorm, layer_norm, linear, zeroed
from emoji_jax.models.transformer import Attention, FeedForward

# AnimateDiff's modules always use 32 groups, whatever the UNet around them uses.
_GROUPS = 32


def position_encoding(frames: int, channels: int) -> Float[np.ndarray, "F C"]:
    """Sinusoids of the frame's place in the clip, sine on even channels, cosine on odd ones."""
    even = np.arange(0, channels, 2, dtype=np.float32)
    angles = np.arange(frames, dtype=np.float32)[:, None] * np.exp(
        even * np.float32(-np.log(10000.0) / channels)
    )
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(frames, channels)


class MotionBlock(nnx.Module):
    """Two self-attentions along F and a feed-forward."""

    def __init__(self, channels: int, heads: int, compute: Compute, *, rngs: Draws):
        self.attention_blocks = nnx.List(
            [Attention(channels, channels, heads, compute, rngs=rngs) for _ in range(2)]
        )
        self.norms = nnx.List([layer_norm(channels, compute, rngs=rngs) for _ in range(2)])
        self.ff = FeedForward(channels, compute, rngs=rngs)
        self.ff_norm = layer_norm(channels, compute, rngs=rngs)

    def __call__(self, x: Float[Array, "P F C"]) -> Float[Array, "P F C"]:
        position = jnp.asarray(position_encoding(*x.shape[1:]), x.dtype)
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            x = x + attention(norm(x) + position)
        return x + self.ff(self.ff_norm(x))


class MotionModule(nnx.Module):
    """Temporal self-attention along F at every pixel (AnimateDiff v2, arXiv 2307.04725)."""

    def __init__(self, channels: int, heads: int, compute: Compute, *, rngs: Draws):
        self.norm = GroupNorm(channels, _GROUPS, eps=1e-6, rngs=rngs)
        self.proj_in = linear(channels, channels, compute, rngs=rngs)
        self.transformer_blocks = nnx.List([MotionBlock(channels, heads, compute, rngs=rngs)])
        self.proj_out = zeroed(linear(channels, channels, compute, rngs=rngs))

    def __call__(self, x: Float[Array, "B F H W C"]) -> Float[Array, "B F H W C"]:
        b, _, h, w, _ = x.shape
        y = rearrange(self.proj_in(self.norm(x)), "b f h w c -> (b h w) f c")
        for block in self.transformer_blocks:
            y = block(y)
        return x + rearrange(self.proj_out(y), "(b h w) f c -> b f h w c", b=b, h=h, w=w)
