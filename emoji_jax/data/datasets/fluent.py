"""Animated Fluent emoji (MIT): the npm packages @lobehub/fluent-emoji-anim-1 to -4, unpacked.

Files are named by code points: 1f468-1f3fb-200d-1f9b0.webp. Whether one shows a single face is for
the detector to say; but it also finds faces half behind hands, masks or smoke, those upside down
(as upright ones, with eyes in the mouth), monkeys, and some whose features it misplaces. These are
told by their code points.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emoji_jax.data.datasets import ReaderConfig, Unit, inputs, relative

_SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
_NOT_DESIGN = {*_SKIN_TONES, "fe0f"}
_MONKEYS = {"1f648", "1f649", "1f64a", "1f412", "1f435"}
_COVERED = {
    "1f636-200d-1f32b",  # in clouds
    "1f637",  # mask
    "1f92b",  # finger on the lips
    "1f92d",  # hand over the mouth
    "1f927",  # handkerchief
    "1f971",  # hand on a yawn
    "1fae2",  # hand over the mouth
    "1fae3",  # peeking between fingers
    "1f915",  # bandage
    "1f977",  # ninja
    "1f926",  # hand before the face
}
_UPSIDE_DOWN = {"1f643", "1f938"}
# Fists, a flag, a silhouette and a lobster, in which the detector sees one.
_NO_FACES = {"1f91b", "1f91c", "1f3f4-200d-2620", "1f464", "1f99e"}
_WHEELCHAIR = "1f9bd"  # its wheel is taken for the face
_ASTRAY = {
    "1f3ca",  # a swimmer's, with goggles, behind an arm
    "1f3ca-200d-2640",
    "1f3ca-200d-2642",
    "1f636",  # has no mouth
    "1f6c0",  # seen from the side
    "1f973",  # lies on its side
    "1f987",  # a bat's eyes and nose
    "1f989",  # lips on an owl's belly
}


def units(root: Path, config: ReaderConfig) -> Iterator[Unit]:
    """One input per emoji. All skin tones of a design are one identity."""
    for path in inputs(root):
        if path.suffix.lower() != ".webp":
            continue
        points = path.stem.lower().split("-")
        design = "-".join(point for point in points if point not in _NOT_DESIGN)
        refused = ""
        if not re.fullmatch(r"[0-9a-f]+(-[0-9a-f]+)*", path.stem.lower()):
            refused = "name is not made of code points"
        elif design in _MONKEYS:
            refused = "monkey"
        elif points[0] in _UPSIDE_DOWN:  # whoever does a cartwheel, too
            refused = "upside down"
        elif design in _NO_FACES or _WHEELCHAIR in points:
            refused = "no face"
        elif design in _ASTRAY:
            refused = "landmarks astray"
        elif design in _COVERED or points[0] in {"1f926", "1f977"}:
            refused = "covered"
        yield Unit(
            relative(path, root),
            str(path),
            identity=f"fluent {design}",
            source=f"Fluent emoji, {_package(path, root)}",
            licence="MIT",
            refused=refused,
        )


def _package(path: Path, root: Path) -> str:
    """Of a file in NAME/package/assets, as npm unpacks it, or NAME/assets."""
    for folder in path.relative_to(root).parents:
        if (root / folder / "package.json").is_file():
            found = re.search(r'"name":\s*"([^"]+)"', (root / folder / "package.json").read_text())
            return found[1] if found else "animated"
    return "animated"
