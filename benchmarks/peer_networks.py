"""Each of our networks in PyTorch, made of diffusers' blocks, with our weights."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNetMotionModel
from torch import nn
from torch.nn import functional

from emoji_jax import published
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.transformer import with_position

# From our dotted paths to those of diffusers' motion modules.
_MOTION = (
    (r"(motion_modules\..*)\.attention_blocks\.0\.", r"\1.attn1."),
    (r"(motion_modules\..*)\.attention_blocks\.1\.", r"\1.attn2."),
    (r"(motion_modules\..*)\.norms\.0\.", r"\1.norm1."),
    (r"(motion_modules\..*)\.norms\.1\.", r"\1.norm2."),
    (r"(motion_modules\..*)\.ff_norm\.", r"\1.norm3."),
)
# Motion modules of the family always have so many groups.
_GROUPS = 32


def fill(module: nn.Module, network: str, weights: Mapping[str, Any]) -> nn.Module:
    """Puts one of our networks' parameters, by path, into a module that has the same."""
    rules = (*_MOTION, *(rule for rule in published.NAMES[network] if "temporal" not in rule[1]))
    names = {published.published_name(path, rules): path for path in weights}
    wanted = {name: x for name, x in module.state_dict().items() if not name.endswith(".pe")}
    if odd := wanted.keys() ^ names.keys():
        raise ValueError(f"{network}: {len(odd)} names differ, such as {sorted(odd)[:4]}")
    for name, path in names.items():  # one by one: both sides' weights fill most of a memory
        x = torch.from_numpy(np.array(weights[path], np.float32)).to(wanted[name].device)
        if path.endswith("kernel"):
            x = x.T if x.ndim == 2 else x.permute(3, 2, 0, 1)
        wanted[name].copy_(x.reshape(wanted[name].shape))
    return module.eval().requires_grad_(False)


class FrameNorm(nn.GroupNorm):
    """Of each frame by itself; diffusers' motion modules normalise all frames together."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of clips `B C F H W`."""
        frames = x.transpose(1, 2)
        made = super().forward(frames.flatten(0, 1))
        return made.reshape(frames.shape).transpose(1, 2)


class Reading:
    """Self-attention of the appearance net: keeps what it is given."""

    def __init__(self, seen: dict[str, torch.Tensor], name: str):
        self.seen, self.name = seen, name

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The layer's output."""
        self.seen[self.name] = hidden_states
        q, k, v = _heads(attn, hidden_states, hidden_states)
        return _out(attn, functional.scaled_dot_product_attention(q, k, v))


class WithReference:
    """Self-attention over a frame's tokens and, in the last half of a batch, the portrait's."""

    def __init__(self, _: str):
        self.projected: tuple[torch.Tensor, ...] = ()
        self.guided = False

    def project(self, attn: Any, tokens: torch.Tensor, guided: bool) -> None:
        """Once per portrait; with guidance the first half of a batch does not see it."""
        self.projected, self.guided = _heads(attn, tokens, tokens)[1:], guided

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The layer's output."""
        attend = functional.scaled_dot_product_attention
        q, k, v = _heads(attn, hidden_states, hidden_states)
        alone = len(q) // 2 if self.guided else 0
        count = len(q) - alone
        all_k, all_v = (
            torch.cat([own[alone:], reference.expand(count, -1, -1, -1)], 2)
            for own, reference in zip((k, v), self.projected, strict=True)
        )
        out = attend(q[alone:], all_k, all_v)
        if alone:
            out = torch.cat([attend(q[:alone], k[:alone], v[:alone]), out])
        return _out(attn, out)


def _heads(attn: Any, x: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
    projected = attn.to_q(x), attn.to_k(context), attn.to_v(context)
    return tuple(y.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for y in projected)


def _out(attn: Any, x: torch.Tensor) -> torch.Tensor:
    return attn.to_out[0](x.transpose(1, 2).flatten(2))


class LandmarkEncoder(nn.Module):
    """As ours, layer by layer."""

    def __init__(self, cfg: EmojiConfig):
        super().__init__()
        self.patch, channels = cfg.landmark_encoder.patch, cfg.landmark_encoder.channels
        conv = lambda i, o, stride=1: nn.Conv2d(i, o, 3, stride, 1)  # noqa: E731
        self.conv_in = conv(3 * self.patch**2, channels[0])
        self.blocks = nn.ModuleList()
        for i, o in itertools.pairwise(channels):
            self.blocks += [conv(i, i), conv(i, o, 2)]
        width = cfg.unet.channels[0]
        self.conv_out = conv(channels[-1], width)
        self.conv_warped = conv(cfg.vae.latent_channels, width) if cfg.warped else None

    def forward(self, x: torch.Tensor, warped: torch.Tensor | None) -> torch.Tensor:
        """Features of pictures `F C H W` and warped portraits' latents."""
        x = functional.silu(self.conv_in(folded(x, self.patch)))
        for block in self.blocks:
            x = functional.silu(block(x))
        x = self.conv_out(x)
        return x if self.conv_warped is None else x + self.conv_warped(warped)


def folded(x: torch.Tensor, patch: int) -> torch.Tensor:
    """Squares of pixels as channels, in our order: the picture's channels last."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(b, -1, h // patch, w // patch)


def unfolded(x: torch.Tensor, patch: int) -> torch.Tensor:
    """The reverse of `folded`."""
    b, c, h, w = x.shape
    x = x.reshape(b, patch, patch, c // patch**2, h, w)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(b, -1, h * patch, w * patch)


def _sizes(cfg: EmojiConfig, kind: str) -> dict[str, Any]:
    unet = cfg.unet
    names = {True: f"CrossAttn{{}}Block{kind}", False: f"{{}}Block{kind}"}
    return {
        "out_channels": unet.out_channels,
        "block_out_channels": unet.channels,
        "layers_per_block": unet.layers,
        "norm_num_groups": unet.groups,
        "cross_attention_dim": unet.context,
        "down_block_types": [names[has].format("Down") for has in unet.attention],
        "up_block_types": [names[has].format("Up") for has in unet.attention[::-1]],
    }


def unet(cfg: EmojiConfig) -> nn.Module:
    """The denoising UNet."""
    made = UNetMotionModel(
        in_channels=cfg.unet.in_channels,
        num_attention_heads=cfg.unet.heads,
        motion_num_attention_heads=cfg.unet.heads,
        use_motion_mid_block=True,
        **_sizes(cfg, "Motion"),
    )
    for name, module in made.named_modules():
        if re.search(r"motion_modules\.\d+$", name):
            module.norm = FrameNorm(_GROUPS, module.norm.num_channels, eps=1e-6)
    _tell_positions(made, cfg)
    # What is to be added after the first convolution is laid down beside it.
    made.conv_in.register_forward_hook(lambda _, __, out: out + made.motion)
    return made


def appearance(cfg: EmojiConfig) -> nn.Module:
    """The appearance net, which fills what `WithReference` reads."""
    made = UNet2DConditionModel(
        in_channels=cfg.unet.out_channels, attention_head_dim=cfg.unet.heads, **_sizes(cfg, "2D")
    )
    _tell_positions(made, cfg)
    # It ends where its last self-attention begins.
    made.conv_norm_out = made.conv_out = nn.Identity()
    last = made.up_blocks[-1].attentions[-1]
    block = last.transformer_blocks[0]
    last.proj_out = nn.Identity()
    for name in ("attn2", "norm2", "norm3", "ff"):
        setattr(block, name, None)
    for name in ("to_q", "to_k", "to_v", "to_out"):
        setattr(block.attn1, name, nn.Identity())
    last.forward = lambda x, *_, **__: _end(last, x)
    return made


def _end(transformer: Any, x: torch.Tensor) -> tuple[torch.Tensor]:
    tokens = transformer.proj_in(transformer.norm(x)).flatten(2).transpose(1, 2)
    block = transformer.transformer_blocks[0]
    reading = block.attn1.processor
    reading.seen[reading.name] = block.norm1(tokens)
    return (x,)


def _tell_positions(unet: nn.Module, cfg: EmojiConfig) -> None:
    if not cfg.unet.position:
        return

    def add(_: nn.Module, __: Any, out: torch.Tensor) -> torch.Tensor:
        _, channels, height, width = out.shape
        waves = np.array(with_position(np.zeros((height, width, channels), np.float32)))
        return out + torch.from_numpy(waves).to(out).movedim(-1, 0)

    for name, module in unet.named_modules():
        if re.search(r"(?<!motion_modules)\.\d+\.proj_in$", name) and "motion" not in name:
            module.register_forward_hook(add)


def vae(cfg: EmojiConfig) -> nn.Module:
    """The autoencoder, between folded pictures and latents."""
    sizes, count = cfg.vae, len(cfg.vae.channels)
    return AutoencoderKL(
        in_channels=3 * sizes.patch**2,
        out_channels=3 * sizes.patch**2,
        block_out_channels=sizes.channels,
        layers_per_block=sizes.layers,
        norm_num_groups=sizes.groups,
        latent_channels=sizes.latent_channels,
        down_block_types=["DownEncoderBlock2D"] * count,
        up_block_types=["UpDecoderBlock2D"] * count,
    )
