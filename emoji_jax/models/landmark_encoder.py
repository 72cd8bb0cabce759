"""Landmark encoder: from landmark pictures to features added to the UNet's first layer."""

import dataclasses

import jax
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute, conv3x3, zeroed


@dataclasses.dataclass(frozen=True)
class LandmarkEncoderConfig:
    """Widths of the landmark encoder.

    Attributes:
      channels: one per resolution; every step between two of them halves height and width.
      patch: squares of so many pixels a side are folded into channels before the first
        convolution: a cheap first resolution for small networks.
    """

    channels: tuple[int, ...] = (16, 32, 96, 256)
    patch: int = 1

    @property
    def factor(self) -> int:
        """Picture size over feature size."""
        return self.patch * 2 ** (len(self.channels) - 1)


class LandmarkEncoder(nnx.Module):
    """Convolutions on each landmark picture (paper 3.1); the last one starts at zero.

    With `latents` channels it takes those of a warped portrait too, and adds what one more
    convolution makes of them, which starts at zero as well.
    """

    def __init__(
        self,
        cfg: LandmarkEncoderConfig,
        outputs: int,
        compute: Compute,
        *,
        latents: int = 0,
        rngs: Draws,
    ):
        self.patch = cfg.patch
        self.conv_in = conv3x3(3 * cfg.patch**2, cfg.channels[0], compute, rngs=rngs)
        self.blocks = nnx.List([])
        for i, o in zip(cfg.channels, cfg.channels[1:], strict=False):
            self.blocks.append(conv3x3(i, i, compute, rngs=rngs))
            self.blocks.append(conv3x3(i, o, compute, stride=2, rngs=rngs))
        self.conv_out = zeroed(conv3x3(cfg.channels[-1], outputs, compute, rngs=rngs))
        self.conv_warped = nnx.data(
            zeroed(conv3x3(latents, outputs, compute, rngs=rngs)) if latents else None
        )

    def __call__(
        self, pictures: Float[Array, "*B H W 3"], warped: Float[Array, "*B h w L"] | None = None
    ) -> Float[Array, "*B h w C"]:
        """Features of landmark pictures in [0, 1], and of warped portraits' latents."""
        p = self.patch
        x = rearrange(pictures, "... (h p) (w q) c -> ... h w (p q c)", p=p, q=p)
        x = jax.nn.silu(self.conv_in(x))
        for block in self.blocks:
            x = jax.nn.silu(block(x))
        x = self.conv_out(x)
        return x if self.conv_warped is None else x + self.conv_warped(warped)
