"""Cartoon people of DiceBear, drawn here: one face with many mouths, eyes and brows.

Only styles whose licence lets everybody pass on pictures made of them (CC0, CC BY), and of these
only the ones whose drawn features the detector follows; docs/data.md has the numbers. Left out are
parts that hide the face, that are no expression (lipstick, hearts for eyes), and those that the
detector misses or takes for something else.
"""

import dataclasses
import functools
import io
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emoji_jax.data.datasets import ReaderConfig, Unit
from emoji_jax.errors import UserError
from emoji_jax.images import Picture

_PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")
_FRAME_RATE = 25.0


@dataclasses.dataclass(frozen=True)
class Style:
    """How people of one style are drawn.

    Attributes:
      expression: what may change from picture to picture: variants by the name of the part.
      person: DiceBear's options for what may not; where they leave a choice, the seed makes it.
    """

    expression: Mapping[str, str]
    person: Mapping[str, Any]


_SKIN = ["f8d9c0", "f2d3b1", "ecad80", "d9a066", "d08b5b", "ae5d29", "9e5622"]
_BACKGROUNDS = [
    *("f4f1ea", "e6e6e6", "c9d6df", "b6e3f4", "c0aede", "d1d4f9", "ffd5dc", "ffdfbf", "c7ecd6"),
    *("fff3b0", "8fb8de", "e07a5f", "81b29a", "f2cc8f", "5f7a8c", "4d5966", "a26769", "6d597a"),
]

STYLES = {
    "big-ears": Style(
        {
            "mouth": "variant0103 variant0203 variant0303 variant0403 variant0503 variant0603 "
            "variant0702 variant0705",
            "eyes": "variant01 variant03 variant04 variant05 variant07 variant11 variant23 "
            "variant26 variant30 variant31",
        },
        {},
    ),
    "lorelei": Style(
        {
            "mouth": "happy01 happy02 happy03 happy04 happy05 happy06 happy07 happy09 happy16 "
            "sad01 sad05 sad06 sad07",
            "eyes": "variant02 variant03 variant04 variant06 variant08 variant11 variant12 "
            "variant15 variant17 variant20",
            "eyebrows": "variant03 variant08 variant10 variant11 variant13",
        },
        # As white as paper, one in two is not found.
        {"skinColor": _SKIN, "beardProbability": 0, "glassesProbability": 0, "scale": 0.85},
    ),
    "micah": Style(
        {
            "mouth": "frown laughing nervous sad smile smirk surprised",
            "eyes": "eyes round smiling",
            "eyebrows": "down up",
        },
        {"scale": 0.75},
    ),
    "notionists": Style(
        {
            "mouth": "variant01 variant05 variant06 variant07 variant08 variant11 variant12 "
            "variant14 variant16 variant22 variant23 variant25 variant26 variant27 variant30",
            "eyes": "variant01 variant03 variant05",
            "eyebrows": "variant03 variant06 variant10 variant11 variant12 variant13",
        },
        {"gestureProbability": 0, "glassesProbability": 0, "scale": 1.4},
    ),
    "open-peeps": Style(
        {
            "expression": "angryWithFang awe blank calm cheeky concerned concernedFear contempt "
            "cute driven explaining eyesClosed fear hectic rage smile smileLOL smileTeethGap "
            "solemn suspicious tired veryAngry"
        },
        {"maskProbability": 0, "accessoriesProbability": 0, "scale": 0.8},
    ),
    "personas": Style(
        {"mouth": "bigSmile frown smile smirk surprise", "eyes": "happy open sleep wink"},
        {"scale": 0.9},
    ),
    "toon-head": Style(
        {
            "mouth": "agape angry laugh sad smile",
            "eyes": "bow happy humble wide wink",
            "eyebrows": "angry neutral raised",
        },
        {"beardVariant": ["chin", "chinMoustache"], "beardProbability": 20, "scale": 0.9},
    ),
}


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who makes faces and sways a little; the same wherever this is drawn.

    Attributes:
      style: one of `STYLES`.
      seed: who it is.
      poses: number of pictures.
      size: their side, pixels.
    """

    style: str
    seed: int
    poses: int
    size: int

    def frames(self) -> Iterator[tuple[Picture, float]]:
        """The pictures, and seconds as if they were a video's."""
        for i, picture in enumerate(_draw(self)):
            yield picture, i / _FRAME_RATE


def units(root: Path | None, config: ReaderConfig) -> Iterator[Unit]:
    """As many people of every style as the options say.

    Raises:
      UserError: no such style, or the packages that draw are missing.
    """
    wanted = config.styles.replace(",", " ").split() or list(STYLES)
    if unknown := [name for name in wanted if name not in STYLES]:
        raise UserError(
            f"config.reader.styles names {', '.join(unknown)}; expected some of {', '.join(STYLES)}"
        )
    if min(config.people, config.poses, config.size) < 1:
        raise UserError(
            f"config.reader asks for {config.people} people in {config.poses} poses, "
            f"{config.size} pixels; expected 1 or more of each"
        )
    for name in wanted:
        source, licence = _about(name)
        for seed in range(config.people):
            yield Unit(
                f"{name}/{seed:05d}",
                "",
                identity=f"{name} {seed:05d}",
                source=source,
                licence=licence,
                drawing=Person(name, seed, config.poses, config.size),
                separate=True,
            )


def expressions(person: Person) -> list[dict[str, str]]:
    """The parts of every picture: each variant about as often, in any company."""
    chance = random.Random(f"{person.style} {person.seed}")
    parts = {
        name: _dealt(variants.split(), person.poses, chance)
        for name, variants in STYLES[person.style].expression.items()
    }
    return [{name: parts[name][i] for name in parts} for i in range(person.poses)]


def _dealt(variants: Sequence[str], count: int, chance: random.Random) -> list[str]:
    rounds = math.ceil(count / len(variants))
    return [one for _ in range(rounds) for one in chance.sample(variants, len(variants))][:count]


def _sway(person: Person) -> list[dict[str, float]]:
    """Turn, scale and place in every picture: small and slow, so that none looks like a cut."""
    chance = random.Random(f"sway of {person.style} {person.seed}")
    starts = [chance.uniform(0, 2 * math.pi) for _ in range(4)]
    scale = STYLES[person.style].person.get("scale", 1.0)
    return [
        {
            "rotate": round(6 * math.sin(phase + starts[0]), 3),
            "scale": round(scale * (1 + 0.06 * math.sin(phase + starts[1])), 3),
            # Per cent of the side.
            "translateX": round(3 * math.sin(2 * phase + starts[2]), 3),
            "translateY": round(3 * math.sin(2 * phase + starts[3]), 3),
        }
        for phase in (2 * math.pi * i / person.poses for i in range(person.poses))
    ]


@functools.lru_cache(maxsize=1)  # a unit is read twice
def _draw(person: Person) -> tuple[Picture, ...]:
    import dicebear
    import resvg_py

    style = _load(person.style)
    # What a part looks like follows from the seed and its own name only, so no choice of an
    # expression changes the person.
    options = {
        "backgroundColor": _BACKGROUNDS,
        **STYLES[person.style].person,
        # With the style in it, as people of the same number would otherwise share their colours.
        "seed": f"{person.style} {person.seed}",
    }
    pictures = []
    for parts, place in zip(expressions(person), _sway(person), strict=True):
        chosen = {f"{name}Variant": variant for name, variant in parts.items()}
        svg = dicebear.Avatar(style, {**options, **chosen, **place}).to_string()
        data = resvg_py.svg_to_bytes(svg, width=person.size, height=person.size)
        with Image.open(io.BytesIO(data)) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    return tuple(pictures)


@functools.cache
def _load(name: str) -> Any:
    """A style as DiceBear takes it."""
    import dicebear

    text = resources.files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
    return dicebear.Style.from_json(text)


def _about(name: str) -> tuple[str, str]:
    """Where a style comes from, as drawn by which versions, and its licence with the creator."""
    try:
        versions = " ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
        meta = json.loads(
            resources.files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
        )["meta"]
    except (metadata.PackageNotFoundError, ModuleNotFoundError) as error:
        raise UserError(
            f"drawing avatars needs {', '.join(_PACKAGES)} ({error}); "
            "pip install 'emoji_jax[prepare]'"
        ) from None
    source = f"{meta['source']['name']} by {meta['creator']['name']}, drawn by {versions}"
    return source, meta["license"]["text"]
