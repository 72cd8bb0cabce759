"""Makes a benchmark of pictures and videos."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax.bench import face, folder
from emoji_jax.bench.folder import Bench, Clip, Pair
from emoji_jax.data.crop import CropConfig, choose_box, crop
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig, around
from emoji_jax.images import Picture, read_image
from emoji_jax.landmarks import Detector
from emoji_jax.video import open_video

UNNAMED = "portrait"
Refused = Callable[[object, str], None]


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What a benchmark is like; the paper's is the default (section 4.3.2).

    Attributes:
      name: how reports call it.
      size: side of its pictures, pixels.
      frames: that are measured of each clip, after its first.
      drivers_each: by how many clips each portrait is driven.
    """

    name: str = "EmojiBench"
    size: int = 256
    frames: int = 64
    drivers_each: int = 1

    def __post_init__(self) -> None:
        if self.size < 32 or self.frames < 1 or self.drivers_each < 0:
            raise UserError(
                f"a benchmark of {self.size} pixels, {self.frames} frames and {self.drivers_each} "
                "drivers for each portrait; expected at least 32, 1 and 0"
            )


def build(
    portraits: Path, drivers: Path, out: Path, config: BenchConfig, refused: Refused
) -> Bench:
    """Makes a benchmark of a folder of pictures and one of videos.

    Args:
      portraits: pictures; those in a folder inside it have that folder's name as their style.
      drivers: videos, or folders of frames.
      out: a new folder.
      config: what it shall be like.
      refused: told what is left out, and why: faces must be seen in all of it.

    Raises:
      UserError: no driver is left, or no portrait where there shall be pairs of them; two files
        have one name, or it can't be written.
    """
    with Detector() as detector:
        stills = (
            (path.stem, style, portrait)
            for path, style in _unique(_pictures(portraits, refused))
            if (portrait := _portrait(path, config.size, detector, refused)) is not None
        )
        clips = (
            (path.stem, clip)
            for path, _ in _unique((p, "") for p in _entries(drivers))
            if (clip := _clip(path, config, detector, refused)) is not None
        )
        return write(out, config, stills, clips)


def write(
    out: Path,
    config: BenchConfig,
    stills: Iterator[tuple[str, str, Picture]],
    clips: Iterator[tuple[str, Clip]],
) -> Bench:
    """Writes portraits (name, style, picture) and clips (name, frames), and pairs them."""
    if out.exists():
        raise UserError(f"{out} exists; expected a name for a new folder")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name in (folder.PORTRAITS, folder.DRIVERS):
            (unfinished / name).mkdir(parents=True)
        styles, names = {}, []
        for name, style, picture in stills:
            Image.fromarray(picture).save(unfinished / folder.PORTRAITS / f"{name}.png")
            styles[name] = style
        if config.drivers_each and not styles:
            raise UserError("no portrait is left: expected pictures that show a face")
        for name, clip in clips:
            folder.save_strip(unfinished / folder.DRIVERS / f"{name}.png", clip)
            names.append(name)
        if not names:
            raise UserError("no driver is left: expected clips that show a face throughout")
        pairs = pair_up(sorted(styles), sorted(names), config.drivers_each)
        folder.write(
            unfinished,
            config.name,
            frames=config.frames,
            size=config.size,
            styles=styles,
            pairs=pairs,
        )
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder.read(out)


def pair_up(portraits: Sequence[str], drivers: Sequence[str], each: int) -> list[Pair]:
    """Each driver by itself; each portrait with so many drivers, all of which get their turn."""
    pairs, taken = [Pair(f"self_{name}", name) for name in drivers], set()
    for i, portrait in enumerate(portraits):
        for k in range(min(each, len(drivers))):
            driver = drivers[(i * each + k) % len(drivers)]
            name = f"cross_{portrait}_{driver}"
            while name in taken:  # of "a" by "b_c" and "a_b" by "c"
                name += "_"
            taken.add(name)
            pairs.append(Pair(name, driver, portrait))
    return pairs


def _entries(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.name[0] != ".")
    except OSError as error:
        raise UserError(f"{root} can't be read as a folder: {error.strerror}") from None


def _pictures(root: Path, refused: Refused) -> Iterator[tuple[Path, str]]:
    """Pictures with their style."""
    for entry in _entries(root):
        if not entry.is_dir():
            yield entry, UNNAMED
            continue
        for inside in _entries(entry):
            if inside.is_dir():
                refused(inside, "is a folder in a style's folder")
            else:
                yield inside, entry.name


def _unique(files: Iterator[tuple[Path, str]]) -> list[tuple[Path, str]]:
    found: dict[str, Path] = {}
    for path, _ in (listed := list(files)):
        if path.stem in found:
            raise UserError(f"{found[path.stem]} and {path} have one name; expected different ones")
        found[path.stem] = path
    if not listed:
        raise UserError("there are no files; expected pictures of faces, and videos")
    return listed


def _portrait(path: Path, size: int, detector: Detector, refused: Refused) -> Picture | None:
    """A face and what is around it."""
    try:
        picture = read_image(path)
        found = detector.detect(picture)
    except UserError as error:
        refused(path.name, str(error))
        return None
    if found is None:
        refused(path.name, "no face is found")
        return None
    cut = around(found, (size, size), FramingConfig()).cut(picture)
    # Every method gets the landmarks of what is stored.
    if face.find(detector, cut) is None:
        refused(path.name, f"no face is found in it at {size} pixels")
        return None
    return cut


def _clip(path: Path, config: BenchConfig, detector: Detector, refused: Refused) -> Clip | None:
    """The square that shows the face throughout, one frame more than are measured."""
    try:
        video = open_video(path)
        video.limit = config.frames + 1
        frames = [frame for frame, _ in video]
        if len(frames) <= config.frames:
            refused(path.name, f"{len(frames)} frames; expected {config.frames + 1}")
            return None
        faces = [detector.detect(frame) for frame in frames]
    except UserError as error:
        refused(path.name, str(error))
        return None
    if missing := sum(found is None for found in faces):
        refused(path.name, f"no face is found in {missing} of {len(frames)} frames")
        return None
    pixels = np.concatenate([found.pixels for found in faces if found])
    box = choose_box(pixels, frames[0].shape[:2], CropConfig(size=config.size, face=0.5))
    if isinstance(box, str):
        refused(path.name, box)
        return None
    cut = np.stack([crop(frame, box, config.size) for frame in frames])
    if missing := sum(face.find(detector, frame) is None for frame in cut):
        told = f"{missing} of {len(cut)} frames at {config.size} pixels"
        refused(path.name, f"no face is found in {told}")
        return None
    return cut
