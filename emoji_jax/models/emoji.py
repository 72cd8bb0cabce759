"""All networks together, and the three presets."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from emoji_jax.models.image_prompt import (
    CLIPVision,
    CLIPVisionConfig,
    ImagePrompt,
    ImagePromptConfig,
)
from emoji_jax.models.init import Draws
from emoji_jax.models.landmark_encoder import LandmarkEncoder, LandmarkEncoderConfig
from emoji_jax.models.layers import Compute
from emoji_jax.models.unet import AppearanceNet, Conditions, UNet, UNetConfig
from emoji_jax.models.vae import VAE, VAEConfig


@dataclasses.dataclass(frozen=True)
class EmojiConfig:
    """Everything that decides which weights there are; written beside every checkpoint.

    Attributes:
      preset: name of the preset it came from.
      size: height and width of pictures that the weights are meant for, pixels.
      frames: F that temporal attention was trained with.
      unet: denoising UNet; the appearance net follows from it.
      landmark_encoder: landmark encoder.
      vae: autoencoder.
      clip: vision tower of the image prompt.
      image_prompt: Q-Former or patch tokens.
      pupils: whether landmarks are drawn with pupils (paper, table 2: without them).
      contour: whether they are drawn with the face's contour (table 2: with it).
      antialiased: whether their lines have soft edges, by which a small picture tells parts of a
        pixel; the released code's have not.
      warped: whether the networks also see the portrait moved with its landmarks
        (`landmarks.warp`); not in the paper, for networks that are trained for hours.
      aligned: whether a driver's landmarks are aligned to the portrait in canonical space, or drawn
        as they were detected (table 2: 2D landmarks).
      sampler: by which its frames are made unless told otherwise, a key of `diffusion.SAMPLERS`;
        the defaults are the released code's.
      steps: that it takes.
      guidance_scale: of classifier-free guidance.
      keep: up to which difference the portrait's own pixels are taken (`detail`); 0: never.
      distilled: whether the UNet tells the end of a path, guidance included
        (`training.distillation`): it takes no other sampler, and no guidance.
    """

    preset: str
    size: tuple[int, int] = (512, 512)
    frames: int = 16
    unet: UNetConfig = UNetConfig()
    landmark_encoder: LandmarkEncoderConfig = LandmarkEncoderConfig()
    vae: VAEConfig = VAEConfig()
    clip: CLIPVisionConfig = CLIPVisionConfig()
    image_prompt: ImagePromptConfig = ImagePromptConfig()
    pupils: bool = True
    contour: bool = False
    antialiased: bool = False
    warped: bool = False
    aligned: bool = True
    sampler: str = "ddim"
    steps: int = 30
    guidance_scale: float = 3.5
    keep: float = 0.0
    distilled: bool = False

    @classmethod
    def release(cls) -> "EmojiConfig":
        """The released checkpoints: 4 latent channels, all CLIP tokens as the prompt."""
        return cls("release")

    @classmethod
    def paper(cls) -> "EmojiConfig":
        """The paper's model: masked latents and mask as input, a 4-layer Q-Former."""
        return cls(
            "paper", unet=UNetConfig(in_channels=9), image_prompt=ImagePromptConfig(queries=16)
        )

    @classmethod
    def tiny(cls) -> "EmojiConfig":
        """The paper's model at a size that trains and runs on a CPU."""
        return cls(
            "tiny",
            size=(128, 128),
            frames=8,
            unet=UNetConfig(
                in_channels=17,
                out_channels=8,
                channels=(64, 128),
                attention=(True, True),
                layers=1,
                heads=2,
                groups=16,
                context=128,
                position=True,
            ),
            landmark_encoder=LandmarkEncoderConfig((64, 96), patch=4),
            vae=VAEConfig((64, 128), layers=1, latent_channels=8, groups=8, patch=4),
            clip=CLIPVisionConfig(128, 512, 2, 4, image_size=112, patch_size=14, projection_dim=64),
            image_prompt=ImagePromptConfig(queries=8, width=128),
            sampler="dpmpp_2m",
            steps=4,
            guidance_scale=1.0,
            keep=0.08,
            antialiased=True,
            warped=True,
        )

    @property
    def masked(self) -> bool:
        """Whether the UNet takes masked latents and a mask (the progressive strategy)."""
        return self.unet.in_channels == 2 * self.unet.out_channels + 1


PRESETS = {"tiny": EmojiConfig.tiny, "release": EmojiConfig.release, "paper": EmojiConfig.paper}


class Emoji(nnx.Module):
    """UNet, appearance net, landmark encoder, image prompt, autoencoder and CLIP."""

    def __init__(self, cfg: EmojiConfig, compute: Compute | None = None, *, rngs: Draws):
        compute = compute or Compute()
        # The autoencoder sees few pixels' worth of work but overflows in fp16 and bands in bf16.
        exact = dataclasses.replace(compute, dtype=jnp.float32, attention="auto")
        unet = cfg.unet
        self.cfg = cfg
        self.unet = UNet(unet, compute, rngs=rngs)
        self.appearance = AppearanceNet(
            dataclasses.replace(unet, in_channels=unet.out_channels), compute, rngs=rngs
        )
        self.landmark_encoder = LandmarkEncoder(
            cfg.landmark_encoder,
            unet.channels[0],
            compute,
            latents=cfg.vae.latent_channels if cfg.warped else 0,
            rngs=rngs,
        )
        self.image_prompt = ImagePrompt(
            cfg.image_prompt, cfg.clip.hidden_size, unet.context, compute, rngs=rngs
        )
        self.vae = VAE(cfg.vae, exact, rngs=rngs)
        self.clip = CLIPVision(cfg.clip, compute, rngs=rngs)

    def see(self, pictures: UInt8[Array, "B F H W _"]) -> Float[Array, "B F h w C"]:
        """Features of landmark pictures, and of the warped portraits beside them if there are any.

        Those are encoded a frame at a time: all together would not fit at 512 pixels.
        """
        seen = pictures.astype(jnp.float32) / 255
        if not self.cfg.warped:
            return self.landmark_encoder(seen)
        warped = jnp.swapaxes(2 * seen[..., 3:] - 1, 0, 1)
        latents = jnp.swapaxes(jax.lax.map(self.vae.encode, warped), 0, 1)
        return self.landmark_encoder(seen[..., :3], latents)

    def condition(
        self,
        reference: Float[Array, "B H W 3"],
        clip_pixels: Float[Array, "B P P 3"],
    ) -> Conditions:
        """Everything a portrait contributes; landmark features are still to be put in.

        Args:
          reference: portraits in [-1, 1].
          clip_pixels: the same portraits as CLIP's processor makes them.
        """
        return self.condition_on(
            self.vae.encode(reference), self.image_prompt.gather(self.clip(clip_pixels))
        )

    def condition_on(
        self,
        latents: Float[Array, "B h w C"],
        gathered: Float[Array, "B M D"],
        drop: Bool[Array, " B"] | None = None,
    ) -> Conditions:
        """As `condition`, from scaled latents and tokens that were gathered already.

        `drop`: see `Conditions`.
        """
        seen = self.appearance(latents, self.image_prompt.appearance(gathered))
        tokens = self.image_prompt.unet(gathered)
        if drop is not None:
            empty = self.image_prompt.unet(jnp.zeros_like(gathered))
            tokens = jnp.where(drop[:, None, None], empty, tokens)
        return Conditions(tokens, self.unet.project_references(seen), drop=drop)

    def with_unconditional(self, conditions: Conditions) -> Conditions:
        """The batch twice for guidance: first without a portrait, then with it.

        Landmarks stay in both halves.
        """
        width = self.image_prompt.unet.in_features
        empty = self.image_prompt.unet(jnp.zeros((*conditions.tokens.shape[:2], width)))
        motion = conditions.motion
        return Conditions(
            jnp.concatenate([empty.astype(conditions.tokens.dtype), conditions.tokens]),
            conditions.references,
            None if motion is None else jnp.concatenate([motion, motion]),
        )


class Encoders(nnx.Module):
    """Autoencoder and CLIP, which both stages leave as they are, under their names in `Emoji`."""

    def __init__(self, cfg: EmojiConfig, compute: Compute | None = None, *, rngs: Draws):
        compute = compute or Compute()
        self.vae = VAE(cfg.vae, compute, rngs=rngs)
        self.clip = CLIPVision(cfg.clip, compute, rngs=rngs)


Networks = type[Emoji] | type[Encoders]


def abstract(
    cfg: EmojiConfig, compute: Compute | None = None, kind: Networks = Emoji
) -> tuple[nnx.GraphDef, nnx.State]:
    """Structure and shapes of all networks, without memory or time: graph and parameters."""
    model = nnx.eval_shape(lambda: kind(cfg, compute, rngs=Draws(None)))
    return nnx.split(model)


def initialise(cfg: EmojiConfig, *, seed: int, kind: Networks = Emoji) -> nnx.State:
    """Random parameters, the same for a seed on every machine."""
    return nnx.state(kind(cfg, rngs=Draws(seed)), nnx.Param)
