"""What is trained: animation in either stage, a student of it, or the autoencoder."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from emoji_jax import diffusion, sampling
from emoji_jax.config import build, choice
from emoji_jax.metrics import lpips
from emoji_jax.models.emoji import Emoji, Encoders, Networks
from emoji_jax.programs import Programs
from emoji_jax.training import animation, autoencoder, distillation, grids, settings, step
from emoji_jax.training.state import AVERAGE, TEACHER

HostBatch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained: which networks, for which loss (`beside`: of which others), shown how."""

    kind: Networks
    loss: step.Loss
    picture: Callable[[Programs, HostBatch], np.ndarray]
    beside: tuple[str, ...] = ()


def task(config: settings.Config) -> Task:
    """The task that a configuration names."""
    kinds = ("animation", "autoencoder", "distillation")
    kind = choice("train.task", config.train.task, kinds)
    if kind == "autoencoder":
        cfg = settings.autoencoder(config)
        perception = lpips.load() if cfg.perceptual else None
        loss = functools.partial(autoencoder.loss, cfg=cfg, perception=perception)
        return Task(Encoders, loss, grids.of_autoencoder)
    sampler = build(sampling.SamplerConfig, "sampler", config.sampler)

    def picture(programs: Programs, batch: HostBatch) -> np.ndarray:
        frames = dataclasses.replace(sampler, frames=batch["landmarks"].shape[1])
        return grids.of_animation(programs, batch, frames, config.seed)

    stage, schedule = settings.animation(config), diffusion.schedule()
    if kind == "animation":
        loss = functools.partial(animation.loss, cfg=stage, schedule=schedule)
        return Task(Emoji, loss, picture)
    taught = settings.distillation(config)
    loss = functools.partial(distillation.loss, cfg=taught, stage=stage, schedule=schedule)
    averaged = (AVERAGE,) if taught.target == AVERAGE else ()
    return Task(Emoji, loss, picture, (TEACHER, *averaged))
