"""Readers: what there is to prepare in a folder, one file per way that data are distributed."""

import dataclasses
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks


@runtime_checkable
class Drawing(Protocol):
    """Frames that are drawn when they are asked for; a frozen dataclass of plain values."""

    def frames(self) -> Iterator[tuple[Picture, float]]:
        """Pictures of one size, and when each is shown, in seconds; the same every time."""
        ...


@runtime_checkable
class Painting(Protocol):
    """A clip of which every landmark is known; a frozen dataclass of plain values."""

    def clip(self, size: int) -> tuple[UInt8[np.ndarray, "F H W 3"], Landmarks]:
        """Square pictures of a side in pixels, and their landmarks; the same every time."""
        ...


@dataclasses.dataclass(frozen=True)
class Unit:
    """One input: what is prepared, or not, as a whole, and has one line in the report.

    Attributes:
      name: unique in the folder: its path, and which part of it.
      path: a video, an animated image or a folder of frames.
      identity: who or what is seen, as far as the folder tells.
      source: where it comes from.
      licence: what is known of it.
      expression: its name, where the recording has one.
      frame_rate: of a folder of frames, per second.
      span: first second and the one after the last; None: all of it.
      box: left, top, width and height of the part to look at, in picture heights; None: all of it.
      refused: why the reader does not want it, without looking inside; empty: it does.
      drawing: what makes the frames where there is no file at `path`.
      painting: likewise, where landmarks come with them.
      separate: each frame is a picture by itself, of the same face as the others: one without a
        face is left out, not filled in, and no change between two is a cut.
    """

    name: str
    path: str
    identity: str
    source: str = ""
    licence: str = ""
    expression: str = ""
    frame_rate: float = 30.0
    span: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    refused: str = ""
    drawing: Drawing | None = None
    painting: Painting | None = None
    separate: bool = False


@dataclasses.dataclass(frozen=True)
class ReaderConfig:
    """Options of readers.

    Attributes:
      pattern: of recordings: how names are made.
      licence: a note for every clip; empty: what the reader knows.
      styles: of avatars: names, with spaces or commas between them; empty: all.
      people: of avatars: how many of each style; of synthetic portraits: in all.
      poses: of avatars: pictures of each; of synthetic portraits: frames of each clip.
      size: of avatars: side of the drawn pictures, pixels.
      seed: of synthetic portraits.
    """

    pattern: str = "{subject}_{expression}"
    licence: str = ""
    styles: str = ""
    people: int = 100
    poses: int = 24
    size: int = 768
    seed: int = 0


Reader = Callable[[Path, ReaderConfig], Iterable[Unit]]

# Readers that need no folder.
DRAWN = {"avatars", "synthetic"}

# A folder with several of these is one moving picture.
STILLS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm"}


def readers() -> dict[str, Reader]:
    """Readers by name."""
    from emoji_jax.data.datasets import avatars, fluent, folder, hdtf, recordings, synthetic, vfhq

    return {
        "folder": folder.units,
        "hdtf": hdtf.units,
        "vfhq": vfhq.units,
        "recordings": recordings.units,
        "fluent": fluent.units,
        "avatars": avatars.units,
        "synthetic": synthetic.units,
    }


def inputs(root: Path) -> Iterator[Path]:
    """Every file below a folder in order of names; for folders of frames, the folder instead.

    Hidden ones are left out. Links are followed, once.
    """
    seen, unlisted = set(), list[str]()
    walk = os.walk(root, followlinks=True, onerror=lambda error: unlisted.append(error.filename))
    for where, folders, files in walk:
        status = os.stat(where)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if name[0] != ".")
        names = sorted(name for name in files if name[0] != ".")
        stills = [name for name in names if os.path.splitext(name)[1].lower() in STILLS]
        if len(stills) > 1:
            yield Path(where)
            names = sorted(set(names) - set(stills))
        elif not files and not folders:
            yield Path(where)  # empty, which somebody may wonder about
        for name in names:
            yield Path(where, name)
    # Which the report then has as unreadable.
    yield from map(Path, unlisted)


def relative(path: Path, root: Path) -> str:
    """Name of an input, the same on every system and for every way of writing an accent."""
    name = path.relative_to(root).as_posix() if path != root else path.name
    return printable(name)


def printable(name: str) -> str:
    """Text that can be stored, of a file name that may hold any bytes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)
