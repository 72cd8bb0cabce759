"""The options of sampling."""

import dataclasses
import math
from typing import Literal

from emoji_jax import diffusion
from emoji_jax.errors import UserError, check_fields
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.plan import CACHES

LongVideo = Literal["", "progressive", "overlap"]


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How to sample; what is left open is as the checkpoint has it (`EmojiConfig`).

    Attributes:
      name: key of `diffusion.SAMPLERS`; "" leaves it open.
      steps: S, evaluations of the UNet (each of them twice, for guidance); 0 leaves it open.
      guidance_scale: of classifier-free guidance; 1 switches it off and halves the work; None
        leaves it open.
      guidance_interval: timesteps, as parts of all, between which there is guidance
        (arXiv 2404.07724); where there is none the work is halved.
      cache: key of `plan.CACHES`: how many evaluations of the UNet are done without.
      frames: F, length of a window; 0 means what the checkpoint was trained with.
      long_video: "progressive" or "overlap"; "" takes the first if the checkpoint was trained for
        it.
      overlap: frames that neighbouring windows share, if they overlap.
      batch: windows that are denoised together; 0 means one on each device.
      decode_batch: frames decoded at a time, on each device.
      keep: up to which difference around a pixel, as a part of the range of levels, it is the
        moved portrait's own (`detail`); 0: never; None leaves it open.
    """

    name: str = ""
    steps: int = 0
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    cache: str = "off"
    frames: int = 0
    long_video: LongVideo = ""
    overlap: int = 4
    batch: int = 0
    decode_batch: int = 4
    keep: float | None = None

    def together(self, devices: int) -> int:
        """Windows that are denoised together, on so many devices."""
        return self.batch or devices


def _check_distilled(sampler: SamplerConfig, cfg: EmojiConfig) -> None:
    """Raises a UserError for samplers and guidance that would make wrong pixels."""
    name = sampler.name or cfg.sampler
    if cfg.distilled and name != diffusion.CONSISTENCY:
        raise UserError(
            f"sampler.name is {name!r}, but this checkpoint is distilled; expected "
            f"{diffusion.CONSISTENCY}"
        )
    if cfg.distilled and sampler.guidance_scale not in (None, 1):
        raise UserError(
            f"sampler.guidance_scale is {sampler.guidance_scale}, but this checkpoint is distilled "
            "and has its guidance built in; expected 1, or none given"
        )
    if name == diffusion.CONSISTENCY and not cfg.distilled:
        known = ", ".join(one for one in diffusion.SAMPLERS if one != name)
        raise UserError(
            f"sampler.name is {name!r}, which is for distilled checkpoints (configs/distill.py), "
            f"and this one is not; expected one of {known}"
        )


def check(sampler: SamplerConfig, cfg: EmojiConfig | None = None) -> None:
    """Raises a UserError for settings that can't work, at all or with some networks."""
    check_fields("sampler", SamplerConfig, vars(sampler))
    if cfg and sampler.long_video == "progressive" and not cfg.masked:
        raise UserError(
            "this checkpoint does not take known frames, which sampler.long_video=progressive "
            "needs; expected overlap"
        )
    frames = sampler.frames or (cfg.frames if cfg else 3)
    if frames < 3 and sampler.long_video == "progressive":
        raise UserError(f"progressive needs windows of 3 frames or more, not {frames}")
    if sampler.name and sampler.name not in diffusion.SAMPLERS:
        known = ", ".join(diffusion.SAMPLERS)
        raise UserError(f"sampler.name is {sampler.name!r}; expected one of {known}")
    if cfg:
        _check_distilled(sampler, cfg)
    if not 0 <= sampler.steps <= diffusion.TRAIN_STEPS:
        raise UserError(
            f"sampler.steps is {sampler.steps}; expected 1 to {diffusion.TRAIN_STEPS}, or 0"
        )
    if not 0 <= sampler.frames <= 32:
        raise UserError(f"sampler.frames is {sampler.frames}; expected 1 to 32, or 0")
    if sampler.guidance_scale is not None and not math.isfinite(sampler.guidance_scale):
        raise UserError(f"sampler.guidance_scale is {sampler.guidance_scale}; expected a number")
    interval = sampler.guidance_interval
    pair = isinstance(interval, tuple | list) and len(interval) == 2
    numbers = pair and all(isinstance(x, int | float) for x in interval)
    if not numbers or not 0 <= interval[0] <= interval[1] <= 1:
        raise UserError(
            f"sampler.guidance_interval is {interval}; expected two numbers from 0 to 1, in order"
        )
    if sampler.cache not in CACHES:
        known = ", ".join(CACHES)
        raise UserError(f"sampler.cache is {sampler.cache!r}; expected one of {known}")
    cache = CACHES[sampler.cache]
    if cfg and cache and cache.depth >= len(cfg.unet.channels):
        raise UserError(
            f"sampler.cache={sampler.cache} needs a UNet of more than {cache.depth} resolutions; "
            f"this checkpoint's has {len(cfg.unet.channels)}"
        )
    if sampler.keep is not None and not 0 <= sampler.keep <= 1:
        raise UserError(f"sampler.keep is {sampler.keep}; expected a number from 0 to 1")
    if sampler.overlap < 0 or sampler.batch < 0 or sampler.decode_batch < 1:
        raise UserError(
            "sampler.overlap and sampler.batch must be 0 or more, sampler.decode_batch 1 or more"
        )
