"""From a configuration to what the parts of a run take; mistakes are told before it starts."""

import dataclasses
import json
import math
import reprlib
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import ml_collections

from emoji_jax import checkpoint, diffusion, files, json_file
from emoji_jax.config import build, choice, defaults
from emoji_jax.data import sources
from emoji_jax.data.pipeline import PipelineConfig, Source
from emoji_jax.data.transforms import ExampleConfig
from emoji_jax.errors import UserError
from emoji_jax.models.attention import Implementation
from emoji_jax.models.attention import check as check_attention
from emoji_jax.models.emoji import PRESETS, EmojiConfig
from emoji_jax.models.layers import Compute
from emoji_jax.training.animation import AnimationConfig
from emoji_jax.training.autoencoder import AutoencoderConfig
from emoji_jax.training.distillation import DistillationConfig
from emoji_jax.training.state import AVERAGE, OptimiserConfig

# Synthetic people from here on are for validation, and from twice that on for tests.
_HELD_OUT = 10**9
# What may be changed when a run is gone on with, and so may the number of steps.
_FREE = ("checkpoint", "log", "mesh", "start", "attention", "sampler", "motion")

_NOTE = "config.json"

Config = Any  # ml_collections.ConfigDict, of which type checkers can't know the options


def positive(config: Config, *names: str) -> None:
    """Raises a UserError unless the options of these dotted names are at least 1."""
    at_least(1, config, *names)


def at_least(least: int, config: Config, *names: str) -> None:
    """Raises a UserError unless the options of these dotted names are at least so much."""
    for name in names:
        value: Any = config
        for part in name.split("."):
            value = value[part]
        if value < least:
            raise UserError(f"config.{name} is {value}; expected at least {least}")


def check(config: Config) -> None:
    """Raises a UserError where a number can't be."""
    positive(
        config,
        "train.steps",
        "train.batch_size",
        "train.frames",
        "train.accumulate",
        "checkpoint.every",
        "checkpoint.keep",
        "log.every",
        "log.validation_batches",
        "log.grid_clips",
        "log.grid_frames",
        "data.synthetic_clips",
        "data.synthetic_frames",
        "example.max_stride",
    )
    if config.data.synthetic_clips > _HELD_OUT:
        told = reprlib.repr(config.data.synthetic_clips)
        raise UserError(f"config.data.synthetic_clips is {told}; expected at most {_HELD_OUT}")
    at_least(0, config, "seed", "mesh.patience", "data.workers", "autoencoder.levels")
    at_least(0, config, "log.validate", "log.grids", "log.profile")
    if not 0 < config.example.zoom <= 1:
        raise UserError(f"config.example.zoom is {config.example.zoom}; expected over 0, up to 1")
    if len(config.size) not in (0, 2):
        raise UserError(f"config.size is {config.size}; expected height and width")


def note(config: Config, cfg: EmojiConfig, workdir: Path) -> None:
    """Writes the options of a run, and its networks, into `config.json`."""
    if jax.process_index():
        return
    told = {"options": config.to_dict(), "networks": dataclasses.asdict(cfg)}
    with files.whole(workdir / _NOTE) as file:
        file.write_text(json.dumps(told, indent=1) + "\n")


def noted(workdir: Path) -> tuple[Config, EmojiConfig] | None:
    """What `note` wrote, or None if there is no run yet; newer options are at their defaults.

    Raises:
      UserError: it can't be read.
    """
    path = workdir / _NOTE
    if not path.is_file():
        return None
    try:
        told = json_file.read(path)
        options = _filled(_tuples(told["options"]), defaults().to_dict())
        return ml_collections.ConfigDict(options), checkpoint.parse_config(told["networks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read as a training run's: {error}") from None


def check_same(config: Config, before: Config, workdir: Path) -> None:
    """Raises a UserError if options have changed that may not."""
    ours, theirs = config.to_dict(), before.to_dict()
    theirs["train"]["steps"] = ours["train"]["steps"]
    changed = [name for name in ours if name not in _FREE and ours[name] != theirs[name]]
    if changed:
        raise UserError(
            f"{workdir} has a run with other options: {', '.join(changed)}; give another "
            f"--workdir, or the options that {workdir / _NOTE} has"
        )


def _filled(options: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """With those of the others that are missing, in sections as well."""
    own = {
        name: _filled(value, others[name]) if isinstance(others.get(name), dict) else value
        for name, value in options.items()
    }
    return {**others, **own}


def _tuples(value: Any) -> Any:
    """JSON has lists where a configuration has tuples."""
    if isinstance(value, dict):
        return {name: _tuples(x) for name, x in value.items()}
    return tuple(value) if isinstance(value, list) else value


def model_config(config: Config) -> EmojiConfig:
    """The networks that shall be trained."""
    options = config.model
    cfg = PRESETS[choice("model.preset", options.preset, tuple(PRESETS))]()
    latents = cfg.unet.out_channels
    unet = dataclasses.replace(
        cfg.unet,
        motion=options.motion,
        in_channels=2 * latents + 1 if options.progressive else latents,
    )
    if config.train.task == "distillation":
        steps = config.distillation.steps
        own = {"sampler": diffusion.CONSISTENCY, "steps": steps, "guidance_scale": 1.0}
        cfg = dataclasses.replace(cfg, distilled=True, **own)
    return dataclasses.replace(
        cfg,
        size=tuple(config.size) or cfg.size,
        frames=config.train.frames if options.motion else 1,
        unet=unet,
        pupils=options.pupils,
        contour=options.contour,
        antialiased=options.antialiased,
        warped=options.warped,
        aligned=options.aligned,
    )


def compute(config: Config, *, remat: bool) -> Compute:
    """How the networks shall compute."""
    dtype = choice("dtype", config.dtype, ("float32", "bfloat16", "float16"))
    attention = choice("attention", config.attention, get_args(Implementation))
    check_attention(attention, dtype)
    return Compute(jnp.dtype(dtype), attention, remat)


def optimiser(config: Config) -> OptimiserConfig:
    """The optimiser's settings."""
    choice("optimiser.decay", config.optimiser.decay, ("constant", "cosine"))
    return build(OptimiserConfig, "optimiser", config.optimiser)


def animation(config: Config) -> AnimationConfig:
    """The settings of the two stages' loss."""
    return build(AnimationConfig, "animation", config.animation)


def distillation(config: Config) -> DistillationConfig:
    """The settings of a student's loss.

    Raises:
      UserError: a number that can't be, or something but the UNet shall be trained.
    """
    cfg = build(DistillationConfig, "distillation", config.distillation)
    choice("distillation.target", cfg.target, (AVERAGE, "student"))
    positive(config, "distillation.steps", "distillation.intervals")
    at_least(0, config, "distillation.huber")
    if cfg.intervals > diffusion.TRAIN_STEPS or cfg.intervals % cfg.steps:
        raise UserError(
            f"distillation.intervals is {cfg.intervals}; expected up to {diffusion.TRAIN_STEPS}, "
            f"and a multiple of distillation.steps, {cfg.steps}"
        )
    if not math.isfinite(cfg.guidance_scale):
        raise UserError(f"distillation.guidance_scale is {cfg.guidance_scale}; expected a number")
    if cfg.target == AVERAGE and not config.optimiser.average:
        raise UserError(
            "distillation.target is 'average', but optimiser.average is 0 and none is kept; "
            "expected more than 0, or distillation.target=student"
        )
    others = [name for name in config.train.trainable if not name.startswith("unet.")]
    if others:
        raise UserError(
            f"train.trainable has {', '.join(others)}; distillation changes nothing but the UNet, "
            "expected patterns that begin with unet."
        )
    return cfg


def autoencoder(config: Config) -> AutoencoderConfig:
    """The settings of the autoencoder's loss."""
    return build(AutoencoderConfig, "autoencoder", config.autoencoder)


def example(config: Config, cfg: EmojiConfig) -> ExampleConfig:
    """What an example is made of, for networks like these."""
    height, width = cfg.size
    if height != width or height < 1 or height % cfg.vae.factor:
        raise UserError(
            f"size is {cfg.size}; training expects squares of a multiple of {cfg.vae.factor} pixels"
        )
    levels, most = config.autoencoder.levels, (height & -height).bit_length() - 1
    if config.train.task == "autoencoder" and levels > most:
        raise UserError(
            f"config.autoencoder.levels is {levels}; pictures of {height} pixels can be halved "
            f"{most} times"
        )
    return ExampleConfig(
        frames=config.train.frames,
        size=height,
        factor=cfg.vae.factor,
        clip_size=cfg.clip.image_size,
        pupils=cfg.pupils,
        contour=cfg.contour,
        antialiased=cfg.antialiased,
        warped=cfg.warped,
        **config.example,
    )


def pipeline(config: Config) -> PipelineConfig:
    """How batches of the training split are made."""
    return PipelineConfig(config.train.batch_size, config.seed, workers=config.data.workers)


def source(config: Config, cfg: EmojiConfig, split: str) -> Source:
    """The clips of a split: train, validation or test.

    Raises:
      UserError: no such folder, or weights that don't belong to the sources.
    """
    data = config.data
    numbers = all(isinstance(weight, int | float) for weight in data.weights)
    weights = tuple(data.weights) or (1.0,) * len(data.sources)
    named = data.sources and all(isinstance(name, str) for name in data.sources)
    if not (named and numbers and len(weights) == len(data.sources) and min(weights) > 0):
        raise UserError(
            f"data.sources is {reprlib.repr(data.sources)} and data.weights "
            f"{reprlib.repr(data.weights)}; expected at least one source, and a positive weight "
            "for each or none at all"
        )
    first = {"train": 0, "validation": _HELD_OUT, "test": 2 * _HELD_OUT}[split]
    found: list[Source] = [
        sources.Synthetic(
            config.seed, first, data.synthetic_clips, data.synthetic_frames, cfg.size[0]
        )
        if name == "synthetic"
        else sources.Prepared(name, split)
        for name in data.sources
    ]
    for name, one in zip(data.sources, found, strict=True):
        if not len(one):
            raise UserError(f"{name} has no clips for {split}; expected at least one")
    return found[0] if len(found) == 1 else sources.Mixture(found, weights)
