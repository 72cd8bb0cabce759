"""The networks in PyTorch, made of diffusers' blocks, with the same weights: what others run.

Reference keys and values are computed once, the half without a portrait attends to itself alone,
attention is `scaled_dot_product_attention`: as good as eager PyTorch code is, and better than the
released one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peer_networks import (
    LandmarkEncoder,
    Reading,
    WithReference,
    appearance,
    fill,
    folded,
    unet,
    unfolded,
    vae,
)
from torch.nn import functional

from emoji_jax import diffusion
from emoji_jax.models.emoji import EmojiConfig


class Peer:
    """All networks that denoise and decode.

    Args:
      cfg: sizes.
      weights: of each of our networks, by path.
      dtype: of all but the autoencoder, as here.
      device: to run on.
      compiled: by `torch.compile`.
    """

    def __init__(
        self,
        cfg: EmojiConfig,
        weights: Mapping[str, Mapping[str, np.ndarray]],
        *,
        dtype: torch.dtype,
        device: str,
        compiled: bool = False,
    ):
        self.cfg, self.dtype, self.device = cfg, dtype, device
        self.guided = False
        self.seen: dict[str, torch.Tensor] = {}
        self.unet = fill(unet(cfg), "unet", weights["unet"]).to(device, dtype)
        self.modules = {"unet": self.unet}
        if "appearance" in weights:
            makers = {"appearance": appearance, "landmark_encoder": LandmarkEncoder, "vae": vae}
            for name, make in makers.items():
                kind = torch.float32 if name == "vae" else dtype
                self.modules[name] = fill(make(cfg), name, weights[name]).to(device, kind)
        self._share_references()
        if compiled:
            self.unet = torch.compile(self.unet)

    def _share_references(self) -> None:
        own = dict(self.modules["unet"].attn_processors)
        for name in own:
            if name.endswith("attn1.processor") and "motion_modules" not in name:
                own[name] = WithReference(self.seen, name, lambda: self.guided)
        self.modules["unet"].set_attn_processor(own)
        if "appearance" in self.modules:
            theirs = dict(self.modules["appearance"].attn_processors)
            for name in theirs:
                if name.endswith("attn1.processor"):
                    theirs[name] = Reading(self.seen, name)
            self.modules["appearance"].set_attn_processor(theirs)

    def tensor(self, x: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        """An array of ours, channels last, as theirs, channels first."""
        made = torch.from_numpy(np.array(x, np.float32)).to(self.device, dtype or self.dtype)
        return made.movedim(-1, -3) if made.ndim > 3 else made

    def look(self, latents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Takes in a portrait's latents."""
        self.modules["appearance"](latents, 0, tokens)
        for reader in self.readers():
            reader.projected = None

    def readers(self) -> list[WithReference]:
        """Self-attentions that see the portrait, in order of execution: down, mid, up."""
        found = self.modules["unet"].attn_processors
        return [found[name] for name in sorted(found) if isinstance(found[name], WithReference)]

    def velocity(
        self, x: torch.Tensor, t: int, tokens: torch.Tensor, motion: torch.Tensor
    ) -> torch.Tensor:
        """The UNet's output for clips `B F C h w`."""
        self.modules["unet"].motion = motion.flatten(0, 1)
        out = self.unet(x.transpose(1, 2), t, tokens.repeat_interleave(x.shape[1], 0))
        return out.sample.transpose(1, 2)

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Of landmark pictures in [0, 1], and warped portraits beside them: `F C H W`."""
        warped = None
        if self.cfg.warped:
            warped = self.encode(2 * pictures[:, 3:].float() - 1).to(self.dtype)
        return self.modules["landmark_encoder"](pictures[:, :3], warped)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scaled latents of pictures in [-1, 1], one at a time, as here."""
        net, cfg = self.modules["vae"], self.cfg.vae
        some = [net.encode(folded(x[None], cfg.patch)).latent_dist.mean for x in pictures]
        return torch.cat(some) * cfg.scaling

    def decode(self, latents: torch.Tensor, batch: int = 4) -> torch.Tensor:
        """Pictures of scaled latents `F C h w`."""
        net, cfg = self.modules["vae"], self.cfg.vae
        return torch.cat(
            [
                unfolded(net.decode(some).sample, cfg.patch)
                for some in (latents.float() / cfg.scaling).split(batch)
            ]
        )

    def animate(
        self,
        portrait: torch.Tensor,
        tokens: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        pictures: torch.Tensor,
        noise: torch.Tensor,
        steps: diffusion.Steps,
        scale: float,
    ) -> torch.Tensor:
        """Frames in 0 to 255 of one clip: a portrait, landmark pictures, noise `F C h w`.

        Tokens are those of the appearance net, of the UNet, and the UNet's without a portrait.
        """
        self.look(self.encode(portrait).to(self.dtype), tokens[0])
        motion = self.features(pictures)[None]
        self.guided = scale != 1
        both = torch.cat([tokens[2], tokens[1]]) if self.guided else tokens[1]
        twice = (2 if self.guided else 1, 1, 1, 1, 1)
        x, before = noise[None].float(), (torch.zeros_like(noise[None]),) * 2
        empty = self.cfg.unet.in_channels - x.shape[2]
        for t, row in zip(steps.t, steps.rows().tolist(), strict=True):
            given = functional.pad(x, (0, 0, 0, 0, 0, empty)).to(self.dtype)
            v = self.velocity(given.repeat(twice), int(t), both, motion.repeat(twice)).float()
            if self.guided:
                v = v[:1] + scale * (v[1:] - v[:1])
            x, before = diffusion.update(row, x, v, before)
        pixels = (self.decode(x[0]) / 2 + 0.5).clamp(0, 1) * 255
        return pixels.round().byte().movedim(1, -1)
