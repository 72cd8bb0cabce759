"""Options of the command line as what the API takes."""

import re
from typing import Any, get_args

import ml_collections

from emoji_jax import config as config_file
from emoji_jax.driver import MotionConfig, check_motion
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig
from emoji_jax.landmarks import Controls
from emoji_jax.models.attention import Implementation
from emoji_jax.sampling import SamplerConfig, check


def of_loading(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What `Animator.load` takes besides the checkpoint.

    Raises:
      UserError: values that can't be.
    """
    size = tuple(config.size)
    if size and [type(side) for side in size] != [int, int]:
        raise UserError(f"size is {size}; expected height and width, e.g. (512,512)")
    return {
        "size": size or None,
        "dtype": config_file.choice("dtype", config.dtype, ("float32", "bfloat16", "float16")),
        "attention": config_file.choice("attention", config.attention, get_args(Implementation)),
    }


def of_animating(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What an `Animator` takes besides portrait and motion.

    Raises:
      UserError: values that can't be.
    """
    sampling = dict(config.sampler)
    ways = ("", "progressive", "overlap")
    config_file.choice("sampler.long_video", sampling["long_video"], ways)
    sampler = config_file.build(SamplerConfig, "sampler", sampling)
    check(sampler)
    framing = dict(config.framing)
    framing["face"] = _face("framing.face", framing["face"], "largest", "leftmost", "all")
    framing["mode"] = config_file.choice("framing.mode", framing["mode"], ("crop", "letterbox"))
    controls = config_file.build(Controls, "controls", dict(config.controls))
    motion = dict(config.motion)
    chosen = {
        name: config_file.choice(f"motion.{name}", motion[name], choices)
        for name, choices in (
            ("compat", ("", "release")),
            ("head_pose", ("auto", "relative", "absolute")),
            ("only", ("", "pose", "expression")),
        )
    }
    motion |= chosen | {
        "compat": chosen["compat"] or None,
        "neutral": _face("motion.neutral", motion["neutral"], "auto", "average"),
        "face": _face("motion.face", motion["face"], "largest", "leftmost"),
        "controls": controls,
    }
    moving = config_file.build(MotionConfig, "motion", motion)
    check_motion(moving)
    return {
        "sampler": sampler,
        "moving": moving,
        "framing": config_file.build(FramingConfig, "framing", framing),
        "seed": config.seed,
    }


def _face(name: str, value: Any, *words: str) -> str | int:
    """A word, or a number from 0."""
    if re.fullmatch(r"\d{1,9}", str(value)):
        return int(value)
    return config_file.choice(name, value, words, f"{', '.join(words)} or a number from 0")
