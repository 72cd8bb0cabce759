"""KL autoencoder: pictures to latents and back (arXiv 2112.10752)."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt8

from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute, GroupNorm, ResnetBlock, Upsample, conv, conv3x3, linear
from emoji_jax.models.transformer import Attention

_EPS = 1e-6


def to_unit(pictures: UInt8[Array, "*B H W 3"]) -> Float32[Array, "*B H W 3"]:
    """Pictures as the autoencoder takes them: levels from -1 to 1."""
    return pictures.astype(jnp.float32) / 127.5 - 1


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of the autoencoder; the defaults are Stable Diffusion's.

    Attributes:
      channels: one per resolution; every step between two of them halves height and width.
      layers: resnet blocks per resolution in the encoder, one more in the decoder.
      latent_channels: C of the latents.
      groups: of all group norms.
      patch: squares of so many pixels a side are folded into channels before the first
        convolution and unfolded after the last: a cheap first resolution for small networks.
      scaling: latents are multiplied by it so that their standard deviation is about one.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    latent_channels: int = 4
    groups: int = 32
    patch: int = 1
    scaling: float = 0.18215

    @property
    def factor(self) -> int:
        """Picture size over latent size."""
        return self.patch * 2 ** (len(self.channels) - 1)


class VAEDownsample(nnx.Module):
    """Strided convolution padded below and to the right only, unlike the UNet's."""

    def __init__(self, channels: int, compute: Compute, *, rngs: Draws):
        self.conv = conv(channels, channels, 3, compute, stride=2, padding=(0, 1), rngs=rngs)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
        return self.conv(x)


class VAEStage(nnx.Module):
    """Resnet blocks of one resolution, then a change of resolution, if any."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: int,
        groups: int,
        compute: Compute,
        *,
        downsample: bool = False,
        upsample: bool = False,
        rngs: Draws,
    ):
        self.resnets = nnx.List(
            [
                ResnetBlock(
                    inputs if i == 0 else outputs,
                    outputs,
                    compute,
                    groups=groups,
                    eps=_EPS,
                    rngs=rngs,
                )
                for i in range(layers)
            ]
        )
        self.downsamplers = nnx.List(
            [VAEDownsample(outputs, compute, rngs=rngs)] if downsample else []
        )
        self.upsamplers = nnx.List([Upsample(outputs, compute, rngs=rngs)] if upsample else [])

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B h w O"]:
        for layer in [*self.resnets, *self.downsamplers, *self.upsamplers]:
            x = layer(x)
        return x


class VAEAttention(nnx.Module):
    """Single-head self-attention over the pixels, with a skip."""

    def __init__(self, channels: int, groups: int, compute: Compute, *, rngs: Draws):
        self.group_norm = GroupNorm(channels, groups, eps=_EPS, rngs=rngs)
        self.attention = Attention(channels, channels, 1, compute, bias=True, rngs=rngs)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        y = rearrange(self.group_norm(x), "b h w c -> b (h w) c")
        return x + self.attention(y).reshape(x.shape)


class VAEMiddle(nnx.Module):
    """Resnet block, attention, resnet block."""

    def __init__(self, channels: int, groups: int, compute: Compute, *, rngs: Draws):
        self.resnets = nnx.List(
            [
                ResnetBlock(channels, channels, compute, groups=groups, eps=_EPS, rngs=rngs)
                for _ in range(2)
            ]
        )
        self.attentions = nnx.List([VAEAttention(channels, groups, compute, rngs=rngs)])

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nnx.Module):
    """Pictures to the mean and log-variance of their latents."""

    def __init__(self, cfg: VAEConfig, compute: Compute, *, rngs: Draws):
        channels = cfg.channels
        self.patch = cfg.patch
        self.conv_in = conv3x3(3 * cfg.patch**2, channels[0], compute, rngs=rngs)
        self.down_blocks = nnx.List(
            [
                VAEStage(
                    channels[max(i - 1, 0)],
                    c,
                    cfg.layers,
                    cfg.groups,
                    compute,
                    downsample=i < len(channels) - 1,
                    rngs=rngs,
                )
                for i, c in enumerate(channels)
            ]
        )
        self.mid_block = VAEMiddle(channels[-1], cfg.groups, compute, rngs=rngs)
        self.conv_norm_out = GroupNorm(channels[-1], cfg.groups, eps=_EPS, rngs=rngs)
        self.conv_out = conv3x3(channels[-1], 2 * cfg.latent_channels, compute, rngs=rngs)

    def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w M"]:
        x = rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=self.patch, q=self.patch)
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nnx.Module):
    """Latents to pictures."""

    def __init__(self, cfg: VAEConfig, compute: Compute, *, rngs: Draws):
        channels = cfg.channels[::-1]
        self.patch = cfg.patch
        self.conv_in = conv3x3(cfg.latent_channels, channels[0], compute, rngs=rngs)
        self.mid_block = VAEMiddle(channels[0], cfg.groups, compute, rngs=rngs)
        self.up_blocks = nnx.List(
            [
                VAEStage(
                    channels[max(i - 1, 0)],
                    c,
                    cfg.layers + 1,
                    cfg.groups,
                    compute,
                    upsample=i < len(channels) - 1,
                    rngs=rngs,
                )
                for i, c in enumerate(channels)
            ]
        )
        self.conv_norm_out = GroupNorm(channels[-1], cfg.groups, eps=_EPS, rngs=rngs)
        self.conv_out = conv3x3(channels[-1], 3 * cfg.patch**2, compute, rngs=rngs)

    def __call__(self, z: Float[Array, "B h w C"]) -> Float[Array, "B H W 3"]:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        x = self.conv_out(jax.nn.silu(self.conv_norm_out(x)))
        return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=self.patch, q=self.patch)


class VAE(nnx.Module):
    """The autoencoder; latents outside it are always scaled."""

    def __init__(self, cfg: VAEConfig, compute: Compute, *, rngs: Draws):
        self.encoder = Encoder(cfg, compute, rngs=rngs)
        self.decoder = Decoder(cfg, compute, rngs=rngs)
        c = cfg.latent_channels
        self.quant_conv = linear(2 * c, 2 * c, compute, rngs=rngs)
        self.post_quant_conv = linear(c, c, compute, rngs=rngs)
        self.scaling = cfg.scaling

    def moments(
        self, pictures: Float[Array, "B H W 3"]
    ) -> tuple[Float[Array, "B h w C"], Float[Array, "B h w C"]]:
        """Mean and log-variance, unscaled, of pictures in [-1, 1]; fp32."""
        x = self.quant_conv(self.encoder(pictures)).astype(jnp.float32)
        mean, logvar = jnp.split(x, 2, -1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def encode(
        self, pictures: Float[Array, "B H W 3"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "B h w C"]:
        """Scaled latents of pictures in [-1, 1]: a sample if a key is given, else the mean."""
        mean, logvar = self.moments(pictures)
        if key is not None:
            mean = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
        return mean * self.scaling

    def decode(self, latents: Float[Array, "B h w C"]) -> Float[Array, "B H W 3"]:
        """Pictures, about in [-1, 1], of scaled latents; fp32."""
        return self.decoder(self.post_quant_conv(latents / self.scaling)).astype(jnp.float32)
