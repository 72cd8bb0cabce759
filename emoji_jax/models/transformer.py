"""Attention with a reference portrait, and the transformer over the pixels of a frame."""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float

from emoji_jax.models.attention import Implementation, attend
from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute, GroupNorm, layer_norm, linear


class FeedForward(nnx.Module):
    """GEGLU (arXiv 2002.05202) with the exact GELU."""

    def __init__(self, channels: int, compute: Compute, *, rngs: Draws):
        self.proj = linear(channels, 8 * channels, compute, rngs=rngs)
        self.out = linear(4 * channels, channels, compute, rngs=rngs)

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        value, gate = jnp.split(self.proj(x), 2, -1)
        return self.out(value * jax.nn.gelu(gate, approximate=False))


# B N H D each; the sizes differ from layer to layer.
KeysValues = tuple[Float[Array, "_ _ _ _"], Float[Array, "_ _ _ _"]]


class Attention(nnx.Module):
    """Multi-head attention; queries, keys and values have no bias, the output has one."""

    def __init__(
        self,
        channels: int,
        context: int,
        heads: int,
        compute: Compute,
        *,
        bias: bool = False,
        rngs: Draws,
    ):
        self.to_q = linear(channels, channels, compute, bias=bias, rngs=rngs)
        self.to_k = linear(context, channels, compute, bias=bias, rngs=rngs)
        self.to_v = linear(context, channels, compute, bias=bias, rngs=rngs)
        self.to_out = linear(channels, channels, compute, rngs=rngs)
        self.heads = heads
        self.impl: Implementation = compute.attention

    def project(self, context: Float[Array, "B M I"]) -> KeysValues:
        """Keys and values of context tokens, by head."""
        split = "b m (h d) -> b m h d"
        return (
            rearrange(self.to_k(context), split, h=self.heads),
            rearrange(self.to_v(context), split, h=self.heads),
        )

    def __call__(
        self, x: Float[Array, "B N C"], keys_values: KeysValues | None = None
    ) -> Float[Array, "B N C"]:
        """Attends to the given keys and values; without any, to the tokens themselves."""
        k, v = self.project(x) if keys_values is None else keys_values
        q = rearrange(self.to_q(x), "b n (h d) -> b n h d", h=self.heads)
        return self.to_out(rearrange(attend(q, k, v, self.impl), "b n h d -> b n (h d)"))


def with_reference(
    own: KeysValues, reference: KeysValues, frames: int, drop: Bool[Array, " B"] | None
) -> KeysValues:
    """Keys and values of each frame followed by those of its sample's reference portrait.

    Args:
      own: of the frames, `(B F) N H D`.
      reference: of the portraits, `B N H D`, the same for all frames of a sample.
      frames: F.
      drop: samples that shall see no reference. Theirs is replaced by their own tokens: a softmax
        over doubled keys is the softmax over the keys, so this is exact and needs no mask.

    Returns:
      Keys and values, `(B F) 2N H D`.
    """

    def join(own: Array, reference: Array) -> Array:
        reference = jnp.repeat(reference, frames, 0)
        if drop is not None:
            dropped = jnp.repeat(drop, frames)[:, None, None, None]
            reference = jnp.where(dropped, own, reference)
        return jnp.concatenate([own, reference.astype(own.dtype)], 1)

    return join(own[0], reference[0]), join(own[1], reference[1])


class TransformerBlock(nnx.Module):
    """Self-attention with the reference's tokens, attention to the image prompt, feed-forward."""

    def __init__(self, channels: int, context: int, heads: int, compute: Compute, *, rngs: Draws):
        self.norm1 = layer_norm(channels, compute, rngs=rngs)
        self.attn1 = Attention(channels, channels, heads, compute, rngs=rngs)
        self.norm2 = layer_norm(channels, compute, rngs=rngs)
        self.attn2 = Attention(channels, context, heads, compute, rngs=rngs)
        self.norm3 = layer_norm(channels, compute, rngs=rngs)
        self.ff = FeedForward(channels, compute, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B F N C"],
        tokens: Float[Array, "B M D"],
        reference: KeysValues | None,
        drop: Bool[Array, " B"] | None,
    ) -> tuple[Float[Array, "B F N C"], Float[Array, "B F N C"]]:
        """Returns the block's output and the normalised tokens that its self-attention saw."""
        f = x.shape[1]
        normed = self.norm1(x)
        x = x + self._attend_self(normed, reference, drop)
        # All frames of a sample see the same context, so they are one long row of queries.
        y = rearrange(self.norm2(x), "b f n c -> b (f n) c")
        y = self.attn2(y, self.attn2.project(tokens))
        x = x + rearrange(y, "b (f n) c -> b f n c", f=f)
        return x + self.ff(self.norm3(x)), normed

    def _attend_self(
        self, x: Array, reference: KeysValues | None, drop: Bool[Array, " B"] | None
    ) -> Array:
        b, f = x.shape[:2]
        x = rearrange(x, "b f n c -> (b f) n c")
        if reference is None:
            return rearrange(self.attn1(x), "(b f) n c -> b f n c", b=b)
        # A reference for fewer samples than there are belongs to the last ones: in guidance the
        # first half is the unconditional one and attends to itself alone.
        alone = (b - reference[0].shape[0]) * f
        own = with_reference(self.attn1.project(x[alone:]), reference, f, drop)
        out = self.attn1(x[alone:], own)
        if alone:
            out = jnp.concatenate([self.attn1(x[:alone]), out])
        return rearrange(out, "(b f) n c -> b f n c", b=b)


def with_position(tokens: Float[Array, "*B H W C"], told: bool = True) -> Float[Array, "*B H W C"]:
    """Tokens plus sinusoids of their row in one half of the channels, of their column in the other.

    Wavelengths reach from 6 to 600 tokens, by factors of 100^(4 / C).
    """
    if not told:
        return tokens
    height, width, channels = tokens.shape[-3:]
    frequencies = 100.0 ** -np.linspace(0, 1, channels // 4, endpoint=False)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    angles = [place[..., None] * frequencies for place in (rows, columns)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return tokens + jnp.asarray(np.concatenate(waves, -1), tokens.dtype)


class SpatialTransformer(nnx.Module):
    """Transformer over the pixels of each frame."""

    def __init__(
        self,
        channels: int,
        context: int,
        heads: int,
        groups: int,
        compute: Compute,
        *,
        position: bool = False,
        rngs: Draws,
    ):
        self.position = position
        self.norm = GroupNorm(channels, groups, eps=1e-6, rngs=rngs)
        self.proj_in = linear(channels, channels, compute, rngs=rngs)
        self.transformer_blocks = nnx.List(
            [TransformerBlock(channels, context, heads, compute, rngs=rngs)]
        )
        self.proj_out = linear(channels, channels, compute, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B F H W C"],
        tokens: Float[Array, "B M D"],
        reference: KeysValues | None = None,
        drop: Bool[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B F H W C"], Float[Array, "B F N C"]]:
        """Returns the frames and the normalised tokens that self-attention saw, N = H W."""
        y = with_position(self.proj_in(self.norm(x)), self.position)
        y = rearrange(y, "b f h w c -> b f (h w) c")
        y, normed = self.transformer_blocks[0](y, tokens, reference, drop)
        y = self.proj_out(y).reshape(x.shape)
        return x + y, normed

    def project_reference(self, tokens: Float[Array, "B N C"]) -> KeysValues:
        """Keys and values of the reference's tokens under this layer's projections."""
        return self.transformer_blocks[0].attn1.project(tokens)
