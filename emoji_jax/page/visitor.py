"""What a visitor of the page has: a portrait, a motion, a result; and what they are told."""

import dataclasses
from pathlib import Path
from typing import Any

from emoji_jax.credentials import Credentials
from emoji_jax.driver import Track
from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks

# Finds of one motion that are kept for who goes back to a field's earlier value.
_EARLIER = 3


class Refused(Exception):
    """What a user is told, and next to which field: portrait, motion, making or a section."""

    def __init__(self, place: str, message: str):
        super().__init__(message)
        self.place = place


@dataclasses.dataclass(frozen=True)
class Portrait:
    """A portrait that was read, the file it came from, and its landmarks if they were given."""

    source: str
    picture: Picture
    given: Landmarks | None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Motion:
    """A motion that was followed.

    Attributes:
      source: file, or `expression:NAME`.
      how: what else decides what is found.
      part: start, end and frames, where the whole was refused and only this was followed.
      track: what was found; None where it was refused.
      error: why the whole, or the part, was.
      earlier: what was found of the same source for other fields, the newest first.
    """

    source: str
    how: tuple[Any, ...]
    part: tuple[Any, ...] | None
    track: Track | None
    error: str = ""
    earlier: "tuple[Motion, ...]" = ()


@dataclasses.dataclass(frozen=True)
class Made:
    """A result: the video, the same beside its driver, how many frames, remarks, where from."""

    video: Path
    beside: Path
    frames: int
    seconds: float
    notes: tuple[str, ...]
    credentials: Credentials


def newest(motion: Motion, past: list[Motion]) -> Motion:
    """A motion that remembers the others."""
    others = [
        dataclasses.replace(one, earlier=()) for one in past if one is not motion and one.track
    ]
    return dataclasses.replace(motion, earlier=tuple(others[:_EARLIER]))
