"""VFHQ (CVPR workshops 2022) as distributed: folders of frames Clip+VIDEO+P0+C0+F100-250."""

import re
from collections.abc import Iterator
from pathlib import Path

from emoji_jax.data.datasets import ReaderConfig, Unit, inputs, relative

_NAME = re.compile(r"Clip\+(?P<video>.+)\+P(?P<person>\d+)\+C\d+(\+F\d+-\d+)?$")
_RATE = re.compile(r"^FPS\W+([\d.]+)", re.MULTILINE)
_LICENCE = "videos belong to whoever published them; see the terms of VFHQ"


def units(root: Path, config: ReaderConfig) -> Iterator[Unit]:
    """One input per clip. A video is one identity, even where it shows several persons.

    Frame rates come from the `Clip+….txt` files, wherever they lie; without one, 25.
    """
    rates = {}
    for path in inputs(root):
        if path.suffix == ".txt":
            if path.name.startswith("Clip+"):
                rates[path.stem] = _rate(path)
    for path in inputs(root):
        if path.suffix == ".txt":
            continue
        name = relative(path, root)
        stem = path.name if path.is_dir() else path.stem
        match = _NAME.match(stem)
        video = match["video"] if match else stem
        yield Unit(
            name,
            str(path),
            identity=f"VFHQ {video}",
            source=f"VFHQ https://www.youtube.com/watch?v={video}",
            licence=_LICENCE,
            frame_rate=rates.get(stem, 25.0),
            refused="" if match else "name is not VFHQ's: Clip+VIDEO+P0+C0+F0-99",
        )


def _rate(path: Path) -> float:
    found = _RATE.search(path.read_text("utf-8", "replace"))
    rate = float(found[1]) if found else 0.0
    return rate if 0 < rate <= 1000 else 25.0
