"""Published PyTorch weights to a checkpoint of this project; no name may be missing or left over.

python -m emoji_jax.convert --release DIR --out DIR
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from flax import nnx

from emoji_jax import checkpoint, command, json_file, published
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.image_prompt import CLIPVisionConfig, ImagePrompt
from emoji_jax.models.init import Draws
from emoji_jax.models.landmark_encoder import LandmarkEncoder, LandmarkEncoderConfig
from emoji_jax.models.layers import Compute
from emoji_jax.models.unet import UNet, UNetConfig
from emoji_jax.models.vae import VAEConfig
from emoji_jax.torch_file import TensorFile

_RELEASE = flags.DEFINE_string("release", None, "Folder laid out as the official README asks.")
_OUT = flags.DEFINE_string("out", None, "Checkpoint to write; must not exist yet.")
_PRESET = flags.DEFINE_enum("preset", "release", ["release", "paper"], "Model to make.")
_BASE = flags.DEFINE_bool(
    "base",
    False,
    "Start a training: UNet and appearance net from Stable Diffusion's UNet, motion modules from "
    "AnimateDiff where there, everything else fresh; instead of the released animation weights.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights that no file has.", 0)

Arrays = dict[str, np.ndarray]


def files(root: Path) -> dict[str, Path]:
    """Where everything lies in a folder laid out as the official README asks."""
    base = root / "sd-image-variations-diffusers"
    diffusers = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
    animation = root / "follow-your-emoji"
    return {
        "unet": animation / "unet.pth",
        "appearance": animation / "referencenet.pth",
        "landmark_encoder": animation / "lmk_guider.pth",
        "base": _first(base / "unet", diffusers),
        "motion": _first(root, ("mm_sd_v15_v2.ckpt", "animatediff/mm_sd_v15_v2.ckpt")),
        "vae": _first(root / "sd-vae-ft-mse", diffusers),
        "clip": _first(base / "image_encoder", ("model.safetensors", "pytorch_model.bin")),
    }


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of several spellings of a file that exists; the first of all if none does."""
    paths = [folder / name for name in names]
    return next((path for path in paths if path.is_file()), paths[0])


def configure(where: Mapping[str, Path], preset: str, *, base: bool) -> EmojiConfig:
    """Sizes of all networks from the configuration files beside the weights.

    A configuration that is not there means Stable Diffusion 1.5's sizes; whatever is assumed is
    checked against every weight's shape.
    """
    masked = preset == "paper"
    cfg = EmojiConfig.paper() if masked else EmojiConfig.release()
    unet = _read_json(where["base"].with_name("config.json"))
    vae = _read_json(where["vae"].with_name("config.json"))
    try:
        if unet:
            cfg = dataclasses.replace(cfg, unet=_unet_config(unet, masked))
        if vae:
            cfg = dataclasses.replace(cfg, vae=_vae_config(vae))
    except (KeyError, TypeError) as error:
        raise UserError(f"a config.json beside the weights has no {error}") from None
    cfg = dataclasses.replace(cfg, clip=_clip_config(where["clip"].with_name("config.json")))
    if not base:
        encoder = _landmark_encoder_config(TensorFile(where["landmark_encoder"]))
        cfg = dataclasses.replace(cfg, landmark_encoder=encoder)
    return cfg


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return json_file.read(path)
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def _unet_config(config: Mapping, masked: bool) -> UNetConfig:
    channels = config["out_channels"]
    return UNetConfig(
        in_channels=2 * channels + 1 if masked else channels,
        out_channels=channels,
        channels=tuple(config["block_out_channels"]),
        attention=tuple("CrossAttn" in kind for kind in config["down_block_types"]),
        layers=config["layers_per_block"],
        heads=config["attention_head_dim"],  # a misnomer of diffusers: the number of heads
        groups=config["norm_num_groups"],
        context=config["cross_attention_dim"],
    )


def _vae_config(config: Mapping) -> VAEConfig:
    return VAEConfig(
        channels=tuple(config["block_out_channels"]),
        layers=config["layers_per_block"],
        latent_channels=config["latent_channels"],
        groups=config["norm_num_groups"],
        scaling=config.get("scaling_factor", VAEConfig.scaling),
    )


def _clip_config(path: Path) -> CLIPVisionConfig:
    if not path.is_file():
        return CLIPVisionConfig()
    import transformers

    try:
        config = transformers.CLIPVisionConfig.from_json_file(str(path))
    except (ValueError, OSError, TypeError) as error:
        raise UserError(
            f"{path} is not the configuration of a CLIP vision tower: {error}"
        ) from None
    if config.hidden_act != "quick_gelu":
        raise UserError(f"{path}: hidden_act is {config.hidden_act!r}; expected 'quick_gelu'")
    names = [field.name for field in dataclasses.fields(CLIPVisionConfig)]
    return CLIPVisionConfig(**{name: getattr(config, name) for name in names})


def _landmark_encoder_config(file: TensorFile) -> LandmarkEncoderConfig:
    widths = {name: len(file[name]) for name in file if name.endswith(".bias")}
    strided = (f"blocks.{i}.bias" for i in range(1, len(widths), 2))
    names = ["conv_in.bias", *(name for name in strided if name in widths)]
    if names[0] not in widths:
        raise UserError(f"{file.path} is not a landmark encoder: it has no conv_in.bias")
    return LandmarkEncoderConfig(tuple(widths[name] for name in names))


def networks(
    where: Mapping[str, Path], cfg: EmojiConfig, *, base: bool, seed: int = 0
) -> Iterator[tuple[str, Arrays]]:
    """All networks, one at a time: name and flat parameters.

    Args:
      where: as `files` says.
      cfg: sizes.
      base: take UNet and appearance net from Stable Diffusion and AnimateDiff.
      seed: of parameters that no file has.

    Raises:
      UserError: a file is missing, or does not fit; see `published.check` and `TensorFile`.
    """
    _, state = abstract(cfg)
    shapes = {
        name: {key: leaf.shape for key, leaf in checkpoint.flatten(state[name]).items()}
        for name in state
    }
    yield "vae", _take("vae", shapes["vae"], where["vae"])
    yield "clip", _take("clip", shapes["clip"], where["clip"])
    fresh_prompt = base or bool(cfg.image_prompt.queries)
    prompt = _fresh_prompt(cfg, seed) if fresh_prompt else {}
    if base:
        yield "landmark_encoder", _fresh_landmark_encoder(cfg, seed)
    else:
        encoder = _take("landmark_encoder", shapes["landmark_encoder"], where["landmark_encoder"])
        yield "landmark_encoder", encoder
    for name in ("unet", "appearance"):
        wanted = dict(shapes[name])
        if not fresh_prompt:
            own = f"image_prompt.{name}."
            wanted |= {own + k: v for k, v in _below(shapes["image_prompt"], f"{name}.").items()}
        if base:
            parameters = _from_base(name, cfg, wanted, where, seed)
        else:
            drop = r"clip_fc\..*" if fresh_prompt else ""
            parameters = _take(name, wanted, where[name], drop)
        prompt |= _below(parameters, "image_prompt.")
        yield name, {k: v for k, v in parameters.items() if not k.startswith("image_prompt.")}
    yield "image_prompt", prompt


def _below(flat: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}


def _take(
    network: str, wanted: Mapping[str, tuple[int, ...]], path: Path, drop: str = ""
) -> Arrays:
    """All parameters of one network from its file; names that match `drop` are passed over.

    Where the UNet wants more input channels than the file has, for masked latents and mask, the
    extra ones are zero: the network starts as it was.
    """
    file = TensorFile(path)
    source = published.with_new_vae_names(file) if network == "vae" else file
    source = published.without(source, drop) if drop else source
    first = "conv_in.kernel"
    narrow = dict(wanted)
    if network == "unet" and "conv_in.weight" in source:
        *size, _, outputs = wanted[first]
        narrow[first] = (*size, min(wanted[first][2], source["conv_in.weight"].shape[1]), outputs)
    published.check(network, narrow, source, path)
    taken = {k: published.take(network, k, len(shape), source) for k, shape in narrow.items()}
    if narrow != wanted:
        extra = wanted[first][2] - narrow[first][2]
        taken[first] = np.pad(taken[first], ((0, 0), (0, 0), (0, extra), (0, 0)))
    return taken


def _from_base(
    network: str,
    cfg: EmojiConfig,
    wanted: Mapping[str, tuple[int, ...]],
    where: Mapping[str, Path],
    seed: int,
) -> Arrays:
    """UNet or appearance net from Stable Diffusion, motion modules from AnimateDiff if there."""
    still = {k: v for k, v in wanted.items() if ".motion_modules." not in k}
    if network == "unet":
        parameters = _take(network, still, where["base"])
    else:
        last = f"up_blocks.{len(cfg.unet.channels) - 1}.attentions.{cfg.unet.layers}"
        kept = r"norm\.|proj_in\.|transformer_blocks\.0\.norm1\."
        drop = rf"conv_norm_out\..*|conv_out\..*|{re.escape(last)}\.(?!{kept}).*"
        parameters = _take(network, still, where["base"], drop)
    moving = {k: v for k, v in wanted.items() if k not in still}
    if not moving:
        return parameters
    if where["motion"].is_file():
        return parameters | _take(network, moving, where["motion"])
    fresh = checkpoint.flatten(nnx.state(UNet(cfg.unet, Compute(), rngs=Draws(seed))))
    return parameters | {k: np.asarray(fresh[k]) for k in moving}


def _fresh_prompt(cfg: EmojiConfig, seed: int) -> Arrays:
    prompt = ImagePrompt(
        cfg.image_prompt, cfg.clip.hidden_size, cfg.unet.context, Compute(), rngs=Draws(seed)
    )
    return _arrays(prompt)


def _fresh_landmark_encoder(cfg: EmojiConfig, seed: int) -> Arrays:
    widths = cfg.landmark_encoder, cfg.unet.channels[0]
    return _arrays(LandmarkEncoder(*widths, Compute(), rngs=Draws(seed)))


def _arrays(module: nnx.Module) -> Arrays:
    return {k: np.asarray(v) for k, v in checkpoint.flatten(nnx.state(module)).items()}


def main() -> None:
    """Converts the folder that the flags name."""
    if not (_RELEASE.value and _OUT.value):
        raise UserError("give --release, a folder as the official README lays it out, and --out")
    root, out = Path(_RELEASE.value), Path(_OUT.value)
    if not root.is_dir():
        raise UserError(f"--release {root} is no folder")
    where, base = files(root), _BASE.value
    cfg = configure(where, _PRESET.value, base=base)
    checkpoint.save(out, cfg, networks(where, cfg, base=base, seed=_SEED.value))
    print(f"{out}: {cfg.preset}")


if __name__ == "__main__":
    command.run(main)
