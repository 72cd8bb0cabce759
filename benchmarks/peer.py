"""The networks in PyTorch, made of diffusers' blocks, with the same weights: what others run.

Reference keys and values are computed once, the half without a portrait attends to itself alone,
attention is `scaled_dot_product_attention`: as good as eager PyTorch code is, and better than the
released one.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from given import STEP_T, Given, Sampling
from ours import DECODED
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

Run = Callable[[], np.ndarray]


class Peer:
    """All networks that denoise and decode.

    Args:
      cfg: sizes.
      weights: of each of our networks, by path.
      dtype: of all but the autoencoder, as here.
      device: to run on.

    Attributes:
      run_unet: the UNet, or what was made of it to be faster.
    """

    def __init__(
        self,
        cfg: EmojiConfig,
        weights: Mapping[str, Mapping[str, Any]],
        *,
        dtype: torch.dtype,
        device: str,
    ):
        self.cfg, self.dtype, self.device = cfg, dtype, device
        # As ours: where all is fp32, numbers are not shortened in matrix products.
        exact = dtype == torch.float32
        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact
        makers = {"unet": unet, "appearance": appearance, "vae": vae}
        makers["landmark_encoder"] = LandmarkEncoder
        self.modules = {}
        for name in weights:
            with torch.device(device):  # where numbers that are not kept are soon drawn
                made = makers[name](cfg)
            kind = torch.float32 if name == "vae" else dtype
            self.modules[name] = fill(made, name, weights[name]).to(device, kind)
        self.run_unet = self.modules["unet"]
        self.seen: dict[str, torch.Tensor] = {}
        self._replace("unet", WithReference)
        if "appearance" in self.modules:
            self._replace("appearance", lambda name: Reading(self.seen, name))

    def _replace(self, network: str, make: Callable[[str], Any]) -> None:
        """Gives self-attentions within pictures other processors."""
        own = dict(self.modules[network].attn_processors)
        for name in own:
            if name.endswith("attn1.processor") and "motion_modules" not in name:
                own[name] = make(name)
        self.modules[network].set_attn_processor(own)

    def tensor(self, x: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        """An array of ours, channels last, as theirs, channels first."""
        made = torch.from_numpy(np.array(x, np.float32)).to(self.device, dtype or self.dtype)
        return made.movedim(-1, -3) if made.ndim > 3 else made

    def see(self, tokens: Mapping[str, torch.Tensor], *, guided: bool) -> None:
        """Takes in a portrait, by its tokens: keys and values are the same for all steps."""
        for name, attention in self.readers():
            attention.processor.project(attention, tokens[name], guided)

    def readers(self) -> Iterator[tuple[str, Any]]:
        """Self-attentions that see the portrait, in order of execution: down, mid, up."""
        for name, module in sorted(self.modules["unet"].named_modules()):
            if isinstance(getattr(module, "processor", None), WithReference):
                yield f"{name}.processor", module

    def velocity(
        self, x: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor, motion: torch.Tensor
    ) -> torch.Tensor:
        """The UNet's output for clips `B F C h w`; tokens and landmark features of each frame."""
        self.modules["unet"].motion = motion
        return self.run_unet(x.transpose(1, 2), t, tokens).sample.transpose(1, 2)

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

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures of scaled latents `F C h w`."""
        net, cfg = self.modules["vae"], self.cfg.vae
        return torch.cat(
            [
                unfolded(net.decode(some).sample, cfg.patch)
                for some in (latents.float() / cfg.scaling).split(DECODED)
            ]
        )

    def animate(
        self,
        portrait: torch.Tensor,
        tokens: Sequence[torch.Tensor],
        pictures: torch.Tensor,
        noise: torch.Tensor,
        steps: diffusion.Steps,
        scale: float,
    ) -> torch.Tensor:
        """Frames in 0 to 255 of one clip: a portrait, landmark pictures, noise `F C h w`.

        Tokens are those of the appearance net, of the UNet, and the UNet's without a portrait.
        """
        guided, frames = scale != 1, len(noise)
        self.modules["appearance"](self.encode(portrait).to(self.dtype), 0, tokens[0])
        self.see(self.seen, guided=guided)
        both = torch.cat([tokens[2], tokens[1]]) if guided else tokens[1]
        both = both.repeat_interleave(frames, 0)
        twice = 2 if guided else 1
        motion = self.features(pictures).repeat(twice, 1, 1, 1)
        x, before = noise[None].float(), (torch.zeros_like(noise[None]),) * 2
        empty = self.cfg.unet.in_channels - x.shape[2]
        for number, row in zip(self.times(steps.t), steps.rows().tolist(), strict=True):
            given = functional.pad(x, (0, 0, 0, 0, 0, empty)).to(self.dtype)
            v = self.velocity(given.repeat(twice, 1, 1, 1, 1), number, both, motion).float()
            if guided:
                v = v[:1] + scale * (v[1:] - v[:1])
            x, before = diffusion.update(row, x, v, before)
        pixels = (self.decode(x[0]) / 2 + 0.5).clamp(0, 1) * 255
        return pixels.round().byte().movedim(1, -1)

    def times(self, t: Sequence[int]) -> list[torch.Tensor]:
        """Timesteps as tensors: each number would be a program of its own to a compiler."""
        return [torch.tensor(int(one), device=self.device) for one in t]


def _peer(given: Given, networks: Sequence[str]) -> Peer:
    torch.set_grad_enabled(False)
    return Peer(
        given.cfg,
        {name: given.of(name) for name in networks},
        dtype=getattr(torch, given.dtype),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def _both(peer: Peer, run: Run) -> dict[str, Run]:
    """As it is, and compiled: what is compiled, is so when it is first run."""

    def using(network: Any) -> np.ndarray:
        peer.run_unet = network
        return run()

    network = peer.modules["unet"]
    return {
        "torch": functools.partial(using, network),
        "compiled": functools.partial(using, torch.compile(network)),
    }


def step(given: Given) -> dict[str, Run]:
    """One call of the UNet."""
    peer = _peer(given, ["unet"])
    x, prompt, motion = given.step_inputs()
    names = [name for name, _ in peer.readers()]
    seen = {n: peer.tensor(x) for n, x in zip(names, given.tokens(), strict=True)}
    peer.see(seen, guided=False)
    inputs = peer.tensor(x), *peer.times([STEP_T])
    beside = peer.tensor(prompt).repeat_interleave(given.frames, 0), peer.tensor(motion)[0]
    return _both(
        peer, lambda: peer.velocity(*inputs, *beside).movedim(-3, -1).float().cpu().numpy()
    )


def clip(given: Given, sampling: Sampling) -> dict[str, Run]:
    """A whole clip. CLIP is not run again: its tokens are given."""
    peer = _peer(given, ["unet", "appearance", "landmark_encoder", "vae"])
    portrait, pixels, pictures, noise = given.clip_inputs()

    def prompts(weights: nnx.State) -> tuple[jax.Array, ...]:
        model = nnx.merge(given.graph, weights)
        gathered = model.image_prompt.gather(model.clip(pixels[None]))
        prompt = model.image_prompt
        empty = prompt.unet(jnp.zeros_like(gathered))
        return prompt.appearance(gathered), prompt.unet(gathered), empty

    tokens = [peer.tensor(x) for x in jax.jit(prompts)(given.weights)]
    inputs = (
        peer.tensor(portrait[None], torch.float32),
        tokens,
        peer.tensor(pictures[0]) / 255,
        peer.tensor(noise[0], torch.float32),
        sampling.steps,
        sampling.scale,
    )
    return _both(peer, lambda: peer.animate(*inputs).cpu().numpy())
