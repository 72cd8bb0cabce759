"""A benchmark on disk: a folder with bench.json, pictures and clips."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from emoji_jax import files, json_file
from emoji_jax.errors import UserError
from emoji_jax.images import Picture, read_image

FORMAT = 1
INDEX, PORTRAITS, DRIVERS = "bench.json", "portraits", "drivers"
Clip = UInt8[np.ndarray, "F H W 3"]
Kind = Literal["self", "cross"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Who is animated by whom.

    Attributes:
      name: of its result, without a suffix.
      driver: name of a clip.
      portrait: name of a picture; None for self-reenactment, whose portrait is the clip's first
        frame, and whose truth are the others.
    """

    name: str
    driver: str
    portrait: str | None = None

    @property
    def kind(self) -> Kind:
        """What it measures."""
        return "cross" if self.portrait else "self"


@dataclasses.dataclass(frozen=True)
class Bench:
    """A benchmark.

    Attributes:
      folder: where it is.
      name: how reports call it.
      frames: that are measured of each clip, after its first.
      size: side of all pictures, pixels.
      styles: of each portrait, by its name: "photo", "cartoon", "animal", ...
      pairs: what is animated.
      checksum: SHA-256 of everything: two folders with the same are the same benchmark.
    """

    folder: Path
    name: str
    frames: int
    size: int
    styles: Mapping[str, str]
    pairs: tuple[Pair, ...]
    checksum: str

    def portrait(self, pair: Pair) -> Picture:
        """Whom a pair animates."""
        if pair.portrait is None:
            return self.clip(pair.driver)[0]
        return read_image(self.folder / PORTRAITS / f"{pair.portrait}.png")

    def clip(self, driver: str) -> Clip:
        """A driver's first frame and those that are measured."""
        return read_strip(self.folder / DRIVERS / f"{driver}.png")

    @property
    def drivers(self) -> list[str]:
        """Names of the clips, each once."""
        return sorted({pair.driver for pair in self.pairs})


def save_strip(path: Path, clip: Clip) -> None:
    """Writes square frames below each other, as one picture.

    Animated pictures would not do: their encoders make one frame of several that are the same.
    """
    with files.whole(path) as file:
        Image.fromarray(clip.reshape(-1, *clip.shape[2:])).save(file, "PNG")


def read_strip(path: Path) -> Clip:
    """What `save_strip` wrote."""
    picture = read_image(path)
    side = picture.shape[1]
    return picture.reshape(-1, side, side, 3)


def write(
    folder: Path,
    name: str,
    *,
    frames: int,
    size: int,
    styles: Mapping[str, str],
    pairs: Sequence[Pair],
) -> Bench:
    """Completes a folder with pictures and clips by its index."""
    told = {
        "format": FORMAT,
        "name": name,
        "frames": frames,
        "size": size,
        "styles": dict(sorted(styles.items())),
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
    }
    told["checksum"] = _checksum(folder, told)
    with files.whole(folder / INDEX) as file:
        file.write_text(json.dumps(told, indent=1) + "\n")
    return read(folder)


def read(folder: Path) -> Bench:
    """Reads a benchmark, and makes sure that it is what it was when it was made.

    Raises:
      UserError: there is none, something is missing, or something was changed.
    """
    path = folder / INDEX
    try:
        told = json_file.read(path)
    except OSError:
        raise UserError(
            f"{folder} is no benchmark: it has no {INDEX}; `python -m emoji_jax.bench` makes one"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    try:
        if told["format"] != FORMAT:
            raise UserError(f"{path} has format {told['format']}; this version reads {FORMAT}")
        pairs = tuple(Pair(**pair) for pair in told["pairs"])
        checksum = told.pop("checksum")
        bench = Bench(
            folder, told["name"], told["frames"], told["size"], told["styles"], pairs, checksum
        )
        found = _checksum(folder, told)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from None
    names = [pair.name for pair in pairs]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{path} has no pairs, or two of one name")
    if found != checksum:
        raise UserError(
            f"{folder} is not as it was made: its pictures have the checksum {found[:12]}, its "
            f"index says {str(checksum)[:12]}; make it anew"
        )
    return bench


def _checksum(folder: Path, told: Mapping[str, Any]) -> str:
    """Of the index and of all pixels: how they are compressed plays no part."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    drivers = sorted({pair["driver"] for pair in told["pairs"]})
    files = [folder / PORTRAITS / f"{name}.png" for name in sorted(told["styles"])]
    for file in [*files, *(folder / DRIVERS / f"{name}.png" for name in drivers)]:
        pixels = read_image(file)
        digest.update(f"{file.name} {pixels.shape}".encode())
        digest.update(pixels.tobytes())
    return digest.hexdigest()
