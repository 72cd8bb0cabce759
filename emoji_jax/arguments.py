"""What an `Animator` is given: portraits and motions of several kinds, and checks of kinds."""

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType

import numpy as np
from PIL import Image

from emoji_jax.driver import Driver, Motion, MotionConfig, Track
from emoji_jax.errors import UserError, check_kind
from emoji_jax.framing import FramingConfig
from emoji_jax.images import Picture, from_pillow, read_image
from emoji_jax.landmarks import Landmarks
from emoji_jax.sampling import SamplerConfig

Portrait = str | Path | Picture | Image.Image
"""A file of a picture, or the picture itself: an array or Pillow's."""


def read_portrait(portrait: Portrait) -> tuple[Picture, str]:
    """The portrait and what to call it."""
    if isinstance(portrait, str | os.PathLike):
        return read_image(portrait), str(portrait)
    if isinstance(portrait, Image.Image):
        return from_pillow(portrait), "the portrait"
    if not _pictures(portrait, 3):
        raise UserError(
            f"the portrait is {what(portrait)}; expected a file, uint8 [H, W, 3] or a picture of "
            "Pillow's"
        )
    return portrait, "the portrait"


def several(motion: Motion | Iterable[Motion]) -> bool:
    """Whether it is a list of motions, or the like, and not a motion."""
    alone = (str, bytes, np.ndarray, Mapping, io.IOBase)
    return isinstance(motion, Iterable) and not isinstance(motion, alone)


def all_motions(motion: Motion | Iterable[Motion]) -> list[Motion]:
    """One motion or several.

    Raises:
      UserError: something else is among them.
    """
    motions: list = list(motion) if several(motion) else [motion]  # pyright: ignore
    for one in motions:
        known = isinstance(one, str | Path | Landmarks | Track | Driver)
        if not (known or _pictures(one, 4)):
            raise UserError(
                f"the motion is {what(one)}; expected a file, expression:NAME, landmarks, or a "
                "video's frames as uint8 [F, H, W, 3]"
            )
    return motions


def _pictures(value: object, dimensions: int) -> bool:
    """Whether it is 8-bit RGB; `isinstance` would compare its sides with those of others, too."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        return False
    return value.ndim == dimensions and value.shape[-1] == 3 and value.size > 0


def what(value: object) -> str:
    """What something is, for messages."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"of type {type(value).__name__}"


def check_kinds(
    sampler: object, moving: object, framing: object, face: object, seed: object
) -> None:
    """Raises a UserError for arguments of other types; dictionaries, for example."""
    check_kind("sampler", sampler, SamplerConfig)
    check_kind("moving", moving, MotionConfig)
    check_kind("framing", framing, FramingConfig)
    check_kind("ref_landmarks", face, Landmarks, NoneType)
    check_kind("the seed", seed, int)
