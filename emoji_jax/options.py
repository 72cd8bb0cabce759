"""Options of the command line as what the API takes."""

import re
from typing import Any

import ml_collections

from emoji_jax import config as config_file
from emoji_jax.driver import MotionConfig, check_motion
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig
from emoji_jax.landmarks import Controls
from emoji_jax.models.attention import check as check_attention
from emoji_jax.sampling import SamplerConfig, check


def of_loading(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What `Animator.load` takes besides the checkpoint.

    Raises:
      UserError: values that can't be.
    """
    size = tuple(config.size)
    if size and [type(side) for side in size] != [int, int]:
        raise UserError(f"size is {size}; expected height and width, e.g. (512,512)")
    check_attention(config.attention, config.dtype)
    return {"size": size or None, "dtype": config.dtype, "attention": config.attention}


def of_animating(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What an `Animator` takes besides portrait and motion.

    Raises:
      UserError: values that can't be.
    """
    sampler = config_file.build(SamplerConfig, "sampler", config.sampler)
    check(sampler)
    framing = {**config.framing, "face": _number(config.framing.face)}
    given = config.motion
    motion = {
        **given,
        "compat": given.compat or None,
        "neutral": _number(given.neutral),
        "face": _number(given.face),
        "controls": config_file.build(Controls, "controls", config.controls),
    }
    moving = config_file.build(MotionConfig, "motion", motion)
    check_motion(moving)
    return {
        "sampler": sampler,
        "moving": moving,
        "framing": config_file.build(FramingConfig, "framing", framing),
        "seed": config.seed,
    }


def _number(value: Any) -> Any:
    """A number that options have as text."""
    return int(value) if re.fullmatch(r"\d{1,9}", str(value)) else value
