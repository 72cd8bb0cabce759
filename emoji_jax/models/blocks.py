"""What the UNet and the appearance net are made of: resolutions of layers, and their sizes."""

import dataclasses
from collections.abc import Iterator, Sequence

from flax import nnx
from jaxtyping import Array, Float

from emoji_jax.models.init import Draws
from emoji_jax.models.layers import (
    Compute,
    Downsample,
    GroupNorm,
    ResnetBlock,
    Upsample,
    layer_norm,
    linear,
)
from emoji_jax.models.motion import MotionModule
from emoji_jax.models.transformer import KeysValues, SpatialTransformer, with_position

EPS = 1e-5


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Sizes of the UNet; the defaults are Stable Diffusion 1.5's.

    Attributes:
      in_channels: of the noisy latents, plus masked latents and mask where the progressive strategy
        (paper 3.3) is trained.
      out_channels: of the latents.
      channels: one per resolution; every step between two of them halves height and width.
      attention: for each resolution, whether it has spatial transformers.
      layers: resnet blocks per resolution on the way down, one more on the way up.
      heads: of every attention.
      groups: of all group norms outside the motion modules.
      context: width of the image prompt's tokens.
      motion: whether there are motion modules.
      position: whether spatial transformers are told where each token lies. Networks that were
        trained for long know it from the borders; small ones learn much sooner where in the
        portrait to look.
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention: tuple[bool, ...] = (True, True, True, False)
    layers: int = 2
    heads: int = 8
    groups: int = 32
    context: int = 768
    motion: bool = True
    position: bool = False

    @property
    def time_dim(self) -> int:
        """Width of the timestep's embedding."""
        return 4 * self.channels[0]


class ReferenceTap(nnx.Module):
    """A spatial transformer cut off where its self-attention would begin.

    The appearance net ends with it: only the normalised tokens are wanted.
    """

    def __init__(
        self, channels: int, groups: int, compute: Compute, *, position: bool, rngs: Draws
    ):
        self.norm = GroupNorm(channels, groups, eps=1e-6, rngs=rngs)
        self.proj_in = linear(channels, channels, compute, rngs=rngs)
        self.norm1 = layer_norm(channels, compute, rngs=rngs)
        self.position = position

    def __call__(
        self, x: Float[Array, "B F H W C"], *_: object
    ) -> tuple[Float[Array, "B F H W C"], Float[Array, "B F N C"]]:
        tokens = self.norm1(with_position(self.proj_in(self.norm(x)), self.position))
        return x, tokens.reshape(*x.shape[:2], -1, x.shape[-1])


class Block(nnx.Module):
    """All layers of one resolution: resnet block, spatial transformer, motion module, repeated."""

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: int,
        cfg: UNetConfig,
        compute: Compute,
        *,
        attention: bool,
        change: type[Downsample] | type[Upsample] | None,
        rngs: Draws,
    ):
        self.resnets = nnx.List([_resnet(i, outputs, cfg, compute, rngs) for i in inputs])
        self.attentions = nnx.List(
            [_transformer(outputs, cfg, compute, rngs) for _ in inputs if attention]
        )
        self.motion_modules = nnx.List(
            [MotionModule(outputs, cfg.heads, compute, rngs=rngs) for _ in inputs if cfg.motion]
        )
        self.downsamplers = nnx.List([])
        self.upsamplers = nnx.List([])
        if change is Downsample:
            self.downsamplers.append(Downsample(outputs, compute, rngs=rngs))
        if change is Upsample:
            self.upsamplers.append(Upsample(outputs, compute, rngs=rngs))

    def layers(self) -> Iterator[tuple[nnx.Module, nnx.Module | None, nnx.Module | None]]:
        """Resnet block, transformer or None, motion module or None, in order of execution."""
        absent = [None] * len(self.resnets)
        yield from zip(
            self.resnets, self.attentions or absent, self.motion_modules or absent, strict=True
        )


class Middle(nnx.Module):
    """Resnet block, spatial transformer, motion module, resnet block."""

    def __init__(self, cfg: UNetConfig, compute: Compute, *, rngs: Draws):
        c = cfg.channels[-1]
        self.resnets = nnx.List([_resnet(c, c, cfg, compute, rngs) for _ in range(2)])
        self.attentions = nnx.List([_transformer(c, cfg, compute, rngs)])
        self.motion_modules = nnx.List(
            [MotionModule(c, cfg.heads, compute, rngs=rngs)] if cfg.motion else []
        )

    def layers(self) -> Iterator[tuple[nnx.Module, nnx.Module | None, nnx.Module | None]]:
        """As `Block.layers`; the second resnet block stands alone."""
        yield self.resnets[0], self.attentions[0], next(iter(self.motion_modules), None)
        yield self.resnets[1], None, None


def _resnet(
    inputs: int, outputs: int, cfg: UNetConfig, compute: Compute, rngs: Draws
) -> ResnetBlock:
    return ResnetBlock(
        inputs, outputs, compute, groups=cfg.groups, eps=EPS, time_dim=cfg.time_dim, rngs=rngs
    )


def _transformer(
    channels: int, cfg: UNetConfig, compute: Compute, rngs: Draws
) -> SpatialTransformer:
    return SpatialTransformer(
        channels, cfg.context, cfg.heads, cfg.groups, compute, position=cfg.position, rngs=rngs
    )


def run_layer(
    layer: tuple[nnx.Module, nnx.Module | None, nnx.Module | None],
    x: Array,
    time: Array,
    tokens: Array,
    reference: KeysValues | None,
    drop: Array | None,
) -> tuple[Array, Array | None]:
    """Resnet block, transformer and motion module; also the tokens that self-attention saw."""
    resnet, transformer, motion = layer
    x, seen = resnet(x, time), None
    if transformer is not None:
        x, seen = transformer(x, tokens, reference, drop)
    if motion is not None:
        x = motion(x)
    return x, seen
