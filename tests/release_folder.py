"""A folder laid out as the official README asks, with random weights at a width for tests.

The files are in the formats of the published ones, written without PyTorch.
"""

import collections
import contextlib
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from emoji_jax import checkpoint, published
from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.image_prompt import CLIPVisionConfig
from emoji_jax.models.landmark_encoder import LandmarkEncoderConfig
from emoji_jax.models.motion import position_encoding
from emoji_jax.models.unet import UNetConfig
from emoji_jax.models.vae import VAEConfig

CONFIG = EmojiConfig(
    "release",
    unet=UNetConfig(channels=(32, 32, 64, 64), layers=2, groups=8, context=48, heads=4),
    landmark_encoder=LandmarkEncoderConfig((8, 8, 16, 16)),
    vae=VAEConfig(channels=(16, 16, 32, 32), layers=1, groups=8),
    clip=CLIPVisionConfig(32, 64, 2, 4, image_size=28, patch_size=14, projection_dim=16),
)
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


class _Storage:
    def __init__(self, dtype: np.dtype, key: str, size: int):
        self.dtype, self.key, self.size = dtype, key, size


@contextlib.contextmanager
def _torch_names():
    """Functions and types under the names that PyTorch's files refer to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*args):
        raise AssertionError("only its name is written")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        utils.__name__,
        "_rebuild_tensor_v2",
    )
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in ("FloatStorage", "HalfStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch, utils
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save_torch(path: Path, content: object, *, old: bool = False) -> None:
    """As `torch.save` writes it, or wrote it before PyTorch 1.6; NumPy arrays become tensors."""
    storages: list[np.ndarray] = []
    with _torch_names() as (torch, utils):
        kinds = {
            np.dtype(np.float32): torch.FloatStorage,
            np.dtype(np.float16): torch.HalfStorage,
            np.dtype(np.int64): torch.LongStorage,
        }

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if isinstance(value, _Storage):
                    views = (None,) if old else ()
                    return "storage", kinds[value.dtype], value.key, "cpu", value.size, *views
                return None

            def reducer_override(self, value):
                if not isinstance(value, np.ndarray):
                    return NotImplemented
                storages.append(np.ascontiguousarray(value))
                storage = _Storage(value.dtype, str(len(storages) - 1), value.size)
                stride = tuple(s // value.itemsize for s in storages[-1].strides)
                hooks = collections.OrderedDict()
                return utils._rebuild_tensor_v2, (storage, 0, value.shape, stride, False, hooks)

        index = io.BytesIO()
        Pickler(index, 2).dump(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    if old:
        head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
        parts = [pickle.dumps(part, 2) for part in head]
        parts += [index.getvalue(), pickle.dumps([str(i) for i in range(len(storages))], 2)]
        parts += [struct.pack("<q", s.size) + s.tobytes() for s in storages]
        path.write_bytes(b"".join(parts))
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", index.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage.tobytes())
        archive.writestr("archive/version", "3\n")


def published_weights(network: str, seed: int) -> dict[str, np.ndarray]:
    """A state dict under its published names, everything random, nothing zero."""
    _, state = abstract(CONFIG)
    flat = {k: v.shape for k, v in checkpoint.flatten(state[network]).items()}
    prompt = checkpoint.flatten(state["image_prompt"])
    if network in ("unet", "appearance"):
        flat |= {f"image_prompt.{k}": v.shape for k, v in prompt.items() if k.startswith(network)}
    rng = np.random.default_rng([seed, len(network)])
    weights = {}
    for key, shape in flat.items():
        name = published.published_name(key, published.NAMES[network])
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 100
        value = rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)
        if key.endswith("scale"):
            value = value + 1
        if key.endswith("kernel"):
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            if any(part in name for part in ("proj_in", "proj_out", "conv_shortcut", "quant_conv")):
                value = value if "motion" in name else value[:, :, None, None]
        weights[name] = value
    return weights


def write_release(root: Path, seed: int = 0) -> Path:
    """Writes the whole folder; returns it."""
    unet = published_weights("unet", seed)
    for name in [n for n in unet if n.endswith("attention_blocks.0.to_q.weight")]:
        width = unet[name].shape[0]
        for i in range(2):
            table = name.replace(
                "attention_blocks.0.to_q.weight", f"attention_blocks.{i}.pos_encoder.pe"
            )
            unet[table] = position_encoding(32, width)[None]
    appearance = published_weights("appearance", seed)
    last = "up_blocks.3.attentions.2.proj_out"
    appearance |= {f"{last}.weight": np.ones((32, 32, 1, 1), np.float32)}
    appearance |= {f"{last}.bias": np.ones(32, np.float32)}
    animation = root / "follow-your-emoji"
    save_torch(animation / "unet.pth", collections.OrderedDict(unet))
    save_torch(animation / "referencenet.pth", appearance)
    save_torch(animation / "lmk_guider.pth", published_weights("landmark_encoder", seed))

    vae = published_weights("vae", seed)
    old = {new: old for old, new in published.OLD_VAE.items()}
    for name in [n for n in vae if "mid_block.attentions" in n and "group_norm" not in n]:
        head, part, leaf = (
            name.partition("attentions.0.")[0],
            *name.split("attentions.0.")[1].rsplit(".", 1),
        )
        vae[f"{head}attentions.0.{old[part]}.{leaf}"] = vae.pop(name)
    save_torch(root / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin", vae)
    write_json(
        root / "sd-vae-ft-mse" / "config.json",
        {
            "block_out_channels": CONFIG.vae.channels,
            "layers_per_block": CONFIG.vae.layers,
            "latent_channels": 4,
            "norm_num_groups": CONFIG.vae.groups,
        },
    )

    base = root / "sd-image-variations-diffusers"
    clip = published_weights("clip", seed)
    clip["vision_model.embeddings.position_ids"] = np.arange(CONFIG.clip.tokens)[None]
    (base / "image_encoder").mkdir(parents=True)
    save_file(
        {k: np.ascontiguousarray(v) for k, v in clip.items()},
        base / "image_encoder" / "model.safetensors",
    )
    sizes = {name: getattr(CONFIG.clip, name) for name in CLIPVisionConfig.__dataclass_fields__}
    write_json(base / "image_encoder" / "config.json", sizes | {"hidden_act": "quick_gelu"})
    write_json(
        base / "unet" / "config.json",
        {
            "out_channels": 4,
            "block_out_channels": CONFIG.unet.channels,
            "down_block_types": [CROSS, CROSS, CROSS, PLAIN],
            "layers_per_block": CONFIG.unet.layers,
            "attention_head_dim": CONFIG.unet.heads,
            "norm_num_groups": CONFIG.unet.groups,
            "cross_attention_dim": CONFIG.unet.context,
        },
    )
    return root


def write_base(root: Path, seed: int = 1) -> None:
    """Adds what a training starts from: Stable Diffusion's UNet and AnimateDiff's modules."""
    unet = published_weights("unet", seed)
    still = {k: v for k, v in unet.items() if "motion_modules" not in k and "clip_fc" not in k}
    save_torch(root / "sd-image-variations-diffusers/unet/diffusion_pytorch_model.bin", still)
    motion = {k: v for k, v in unet.items() if "motion_modules" in k}
    save_torch(root / "mm_sd_v15_v2.ckpt", {"state_dict": motion, "global_step": 7})


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
