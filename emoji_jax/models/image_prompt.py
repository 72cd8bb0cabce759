"""What the portrait looks like as a handful of context tokens: CLIP, Q-Former, projection."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from emoji_jax.models import init
from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute, conv, layer_norm, linear
from emoji_jax.models.transformer import Attention, FeedForward


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig:
    """Sizes of a CLIP vision tower (arXiv 2103.00020); the defaults are ViT-L/14."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    projection_dim: int = 768

    @property
    def tokens(self) -> int:
        """Number of tokens of a picture, the class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1


class CLIPLayer(nnx.Module):
    """Pre-norm transformer layer with the quick GELU."""

    def __init__(self, cfg: CLIPVisionConfig, compute: Compute, *, rngs: Draws):
        width = cfg.hidden_size
        self.layer_norm1 = layer_norm(width, compute, rngs=rngs)
        self.self_attn = Attention(
            width, width, cfg.num_attention_heads, compute, bias=True, rngs=rngs
        )
        self.layer_norm2 = layer_norm(width, compute, rngs=rngs)
        self.fc1 = linear(width, cfg.intermediate_size, compute, rngs=rngs)
        self.fc2 = linear(cfg.intermediate_size, width, compute, rngs=rngs)

    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N C"]:
        x = x + self.self_attn(self.layer_norm1(x))
        y = self.fc1(self.layer_norm2(x))
        return x + self.fc2(y * jax.nn.sigmoid(1.702 * y))


class CLIPVision(nnx.Module):
    """CLIP's vision tower; its tokens are taken before the final norm."""

    def __init__(self, cfg: CLIPVisionConfig, compute: Compute, *, rngs: Draws):
        width = cfg.hidden_size
        self.class_embedding = nnx.Param(rngs.normal((width,), width**-0.5))
        patch = cfg.patch_size
        self.patch_embedding = conv(
            3, width, patch, compute, stride=patch, padding=(0, 0), bias=False, rngs=rngs
        )
        stand_in: Any = rngs
        self.position_embedding = nnx.Embed(
            cfg.tokens, width, embedding_init=init.embedding, rngs=stand_in
        )
        self.pre_layernorm = layer_norm(width, compute, rngs=rngs)
        self.layers = nnx.List(
            [CLIPLayer(cfg, compute, rngs=rngs) for _ in range(cfg.num_hidden_layers)]
        )
        self.post_layernorm = layer_norm(width, compute, rngs=rngs)
        self.visual_projection = linear(width, cfg.projection_dim, compute, bias=False, rngs=rngs)

    def __call__(self, pixels: Float[Array, "B H W 3"]) -> Float[Array, "B N C"]:
        """All tokens, class token first, of pictures that CLIP's processor has normalised."""
        x = rearrange(self.patch_embedding(pixels), "b h w c -> b (h w) c")
        first = jnp.broadcast_to(self.class_embedding[...], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([first.astype(x.dtype), x], 1)
        x = self.pre_layernorm(x + self.position_embedding.embedding[...].astype(x.dtype))
        for layer in self.layers:
            x = layer(x)
        return x

    def embed(self, tokens: Float[Array, "B N C"]) -> Float[Array, "B P"]:
        """The picture's embedding in the space that CLIP shares with text."""
        return self.visual_projection(self.post_layernorm(tokens[:, 0]))


@dataclasses.dataclass(frozen=True)
class ImagePromptConfig:
    """Form of the image prompt.

    Attributes:
      queries: learned queries of the Q-Former; 0 means no Q-Former: all patch tokens are used, as
        the released code does. The paper does not state the number.
      layers: of the Q-Former (paper, section 3: four).
      heads: of the Q-Former's attentions.
      width: of the Q-Former.
    """

    queries: int = 0
    layers: int = 4
    heads: int = 8
    width: int = 768


class QFormerLayer(nnx.Module):
    """Queries look at each other, then at the picture's tokens, then pass a feed-forward."""

    def __init__(self, cfg: ImagePromptConfig, compute: Compute, *, rngs: Draws):
        width = cfg.width
        self.norm1 = layer_norm(width, compute, rngs=rngs)
        self.attn1 = Attention(width, width, cfg.heads, compute, rngs=rngs)
        self.norm2 = layer_norm(width, compute, rngs=rngs)
        self.attn2 = Attention(width, width, cfg.heads, compute, rngs=rngs)
        self.norm3 = layer_norm(width, compute, rngs=rngs)
        self.ff = FeedForward(width, compute, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B M C"], tokens: Float[Array, "B N C"]
    ) -> Float[Array, "B M C"]:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), self.attn2.project(tokens))
        return x + self.ff(self.norm3(x))


class QFormer(nnx.Module):
    """Learned queries that gather a picture's tokens (after BLIP-2, arXiv 2301.12597)."""

    def __init__(self, cfg: ImagePromptConfig, inputs: int, compute: Compute, *, rngs: Draws):
        self.queries = nnx.Param(rngs.normal((cfg.queries, cfg.width), 0.02))
        self.proj_in = linear(inputs, cfg.width, compute, rngs=rngs)
        self.norm_in = layer_norm(cfg.width, compute, rngs=rngs)
        self.layers = nnx.List([QFormerLayer(cfg, compute, rngs=rngs) for _ in range(cfg.layers)])
        self.norm_out = layer_norm(cfg.width, compute, rngs=rngs)

    def __call__(self, tokens: Float[Array, "B N I"]) -> Float[Array, "B M C"]:
        tokens = self.norm_in(self.proj_in(tokens))
        x = jnp.broadcast_to(self.queries[...], (len(tokens), *self.queries[...].shape))
        x = x.astype(tokens.dtype)
        for layer in self.layers:
            x = layer(x, tokens)
        return self.norm_out(x)


class ImagePrompt(nnx.Module):
    """Context tokens of the portrait for the UNet and for the appearance net.

    One Q-Former, if any, and a projection of its own for each of the two networks (the released
    `clip_fc`s). The prompt of no portrait is the projection of zeros, i.e. the bias.
    """

    def __init__(
        self,
        cfg: ImagePromptConfig,
        inputs: int,
        outputs: int,
        compute: Compute,
        *,
        rngs: Draws,
    ):
        self.qformer = nnx.data(QFormer(cfg, inputs, compute, rngs=rngs) if cfg.queries else None)
        width = cfg.width if cfg.queries else inputs
        self.unet = linear(width, outputs, compute, rngs=rngs)
        self.appearance = linear(width, outputs, compute, rngs=rngs)

    def gather(self, clip_tokens: Float[Array, "B N I"]) -> Float[Array, "B M C"]:
        """Tokens before the projections; zeros in their place stand for no portrait."""
        return clip_tokens if self.qformer is None else self.qformer(clip_tokens)
