"""The denoising UNet and the appearance net, which is the same network without an output."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from emoji_jax.models.blocks import EPS, Block, Middle, ReferenceTap, UNetConfig, run_layer
from emoji_jax.models.init import Draws
from emoji_jax.models.layers import (
    Compute,
    Downsample,
    GroupNorm,
    TimestepEmbedding,
    Upsample,
    conv3x3,
    timestep_embedding,
)
from emoji_jax.models.transformer import KeysValues


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditions:
    """What a UNet call is conditioned on besides the timestep.

    Attributes:
      tokens: image prompt, `B M D`.
      references: keys and values of the portrait for each spatial transformer, in order of
        execution (`UNet.project_references`), or None for no portrait at all. With fewer rows than
        the batch they belong to its last rows; the first ones see no portrait.
      motion: landmark features, added after the first convolution, `B F h w C`, or None.
      drop: samples that shall see no portrait, `B`, or None for none of them.
    """

    tokens: Float[Array, "B M D"]
    references: Sequence[KeysValues] | None = None
    motion: Float[Array, "B F h w C"] | None = None
    drop: Bool[Array, " B"] | None = None


class Backbone(nnx.Module):
    """What the UNet and the appearance net have in common: all but the output."""

    def __init__(self, cfg: UNetConfig, compute: Compute, *, rngs: Draws):
        channels, levels = cfg.channels, range(len(cfg.channels))
        self.cfg, self.compute = cfg, compute
        self.conv_in = conv3x3(cfg.in_channels, channels[0], compute, rngs=rngs)
        self.time_embedding = TimestepEmbedding(channels[0], cfg.time_dim, compute, rngs=rngs)
        self.down_blocks = nnx.List([])
        skips = [channels[0]]
        for i in levels:
            inputs = [channels[max(i - 1, 0)], *[channels[i]] * (cfg.layers - 1)]
            change = Downsample if i < levels[-1] else None
            skips += [channels[i]] * (cfg.layers + (change is not None))
            self.down_blocks.append(
                Block(
                    inputs,
                    channels[i],
                    cfg,
                    compute,
                    attention=cfg.attention[i],
                    change=change,
                    rngs=rngs,
                )
            )
        self.mid_block = Middle(cfg, compute, rngs=rngs)
        self.up_blocks = nnx.List([])
        below = channels[-1]
        for i in reversed(levels):
            inputs = [below, *[channels[i]] * cfg.layers]
            self.up_blocks.append(
                Block(
                    [c + skips.pop() for c in inputs],
                    channels[i],
                    cfg,
                    compute,
                    attention=cfg.attention[i],
                    change=Upsample if i else None,
                    rngs=rngs,
                )
            )
            below = channels[i]

    def transformers(self) -> list[Any]:
        """Spatial transformers in order of execution."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [transformer for block in blocks for transformer in block.attentions]

    def embed_time(self, t: Int[Array, " B"]) -> Float[Array, "B T"]:
        """Embedding of integer timesteps."""
        sinusoids = timestep_embedding(t, self.cfg.channels[0])
        return self.time_embedding(sinusoids.astype(self.compute.dtype))

    def walk(
        self,
        x: Float[Array, "B F h w C"],
        t: Int[Array, " B"],
        conditions: Conditions,
        *,
        depth: int = 0,
        inner: Float[Array, "B F _ _ _"] | None = None,
    ) -> tuple[Float[Array, "B F h w _"], list[Float[Array, "B F _ _"]], Array]:
        """Runs all blocks on the first convolution's output.

        Args:
          x: that output.
          t: timesteps.
          conditions: see there.
          depth: resolutions that are always run, from the highest.
          inner: what the lower ones would make, if it is not to be computed.

        Returns:
          The last features; per spatial transformer, the tokens its self-attention saw; and what
          the resolutions from `depth` on made.
        """
        time = self.embed_time(t)
        tokens = conditions.tokens.astype(self.compute.dtype)
        transformers = list(map(id, self.transformers()))
        given = conditions.references or [None] * len(transformers)
        references = dict(zip(transformers, given, strict=True))
        run = jax.checkpoint(run_layer) if self.compute.remat else run_layer
        all_seen, found = [], {} if inner is None else {depth: inner}
        last = len(self.down_blocks) - 1

        def through(layer: tuple, x: Array) -> Array:
            reference = None if layer[1] is None else references[id(layer[1])]
            x, seen = run(layer, x, time, tokens, reference, conditions.drop)
            if seen is not None:
                all_seen.append(seen)
            return x

        def resolution(level: int, x: Array, size: tuple[int, ...]) -> Array:
            if level == depth and inner is not None:
                return inner
            down, up, skips = self.down_blocks[level], self.up_blocks[last - level], [x]
            for layer in down.layers():
                x = through(layer, x)
                skips.append(x)
            for downsample in down.downsamplers:
                # Sides that are not a multiple of the deepest factor round up on the way down.
                x = resolution(level + 1, downsample(x), x.shape[-3:-1])
            if level == last:
                for layer in self.mid_block.layers():
                    x = through(layer, x)
            for layer in up.layers():
                x = through(layer, jnp.concatenate([x, skips.pop()], -1))
            for upsample in up.upsamplers:
                x = upsample(x, size)
            if level == depth:
                found[depth] = x
            return x

        x = resolution(0, x, x.shape[-3:-1])
        return x, all_seen, found[depth]


class UNet(Backbone):
    """The denoising UNet: Stable Diffusion's with reference tokens and temporal attention."""

    def __init__(self, cfg: UNetConfig, compute: Compute, *, rngs: Draws):
        super().__init__(cfg, compute, rngs=rngs)
        self.conv_norm_out = GroupNorm(cfg.channels[0], cfg.groups, eps=EPS, rngs=rngs)
        self.conv_out = conv3x3(cfg.channels[0], cfg.out_channels, compute, rngs=rngs)

    def project_references(
        self, references: Sequence[Float[Array, "B _ _"]]
    ) -> tuple[KeysValues, ...]:
        """Keys and values of the appearance net's tokens; once per portrait, for all steps."""
        return tuple(
            transformer.project_reference(tokens)
            for transformer, tokens in zip(self.transformers(), references, strict=True)
        )

    def __call__(
        self, x: Float[Array, "B F h w I"], t: Int[Array, " B"], conditions: Conditions
    ) -> Float[Array, "B F h w O"]:
        """The prediction (velocity, in all presets) for noisy latents; fp32."""
        return self.with_inner(x, t, conditions, 0)[0]

    def with_inner(
        self,
        x: Float[Array, "B F h w I"],
        t: Int[Array, " B"],
        conditions: Conditions,
        depth: int,
        inner: Float[Array, "B F _ _ _"] | None = None,
    ) -> tuple[Float[Array, "B F h w O"], Float[Array, "B F _ _ _"]]:
        """The prediction, and the features of all resolutions but the `depth` highest.

        They change slowly from one step of a sampler to the next (arXiv 2312.00858); given as
        `inner`, they are not computed.
        """
        x = self.conv_in(x.astype(self.compute.dtype))
        if conditions.motion is not None:
            x = x + conditions.motion.astype(x.dtype)
        x, _, inner = self.walk(x, t, conditions, depth=depth, inner=inner)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x))).astype(jnp.float32), inner


class AppearanceNet(Backbone):
    """The portrait's tokens for every spatial transformer of the UNet (arXiv 2311.17117).

    A UNet for still pictures, at timestep 0, that ends where its last self-attention would begin.
    """

    def __init__(self, cfg: UNetConfig, compute: Compute, *, rngs: Draws):
        super().__init__(dataclasses.replace(cfg, motion=False), compute, rngs=rngs)
        # The last transformer, of the highest resolution; nothing after its tokens is needed.
        self.up_blocks[-1].attentions[-1] = ReferenceTap(
            cfg.channels[0], cfg.groups, compute, position=cfg.position, rngs=rngs
        )

    def __call__(
        self,
        latents: Float[Array, "B h w C"],
        tokens: Float[Array, "B M D"],
        t: Int[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B _ _"], ...]:
        """Normalised tokens of each transformer, in order of execution, for scaled latents."""
        if t is None:
            t = jnp.zeros(len(latents), jnp.int32)
        x = self.conv_in(latents[:, None].astype(self.compute.dtype))
        _, seen, _ = self.walk(x, t, Conditions(tokens))
        return tuple(tokens[:, 0] for tokens in seen)
