"""Picks what EmojiBench-mini brings along, of prepared datasets' held-out splits.

python benchmarks/mini_material.py --fluent DATASET --avatars DATASET --out emoji_jax/bench/material

Fluent emoji (MIT), as drivers and as portraits, and portraits of avatars' styles under CC0 1.0.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax.bench.mini import CONFIG
from emoji_jax.data import sources
from emoji_jax.data.transforms import cut

FREE = ("lorelei", "notionists", "open-peeps")
AVATARS = 4


def main() -> None:
    """Writes portraits and drivers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fluent", required=True, help="prepared dataset")
    parser.add_argument("--avatars", required=True, help="prepared dataset")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name in ("portraits", "drivers"):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    fluent, portraits = by_person(args.fluent), {}
    for i, clips in enumerate(fluent.values()):
        for k in range(2):  # two skin tones of each design as drivers, two as portraits
            save_clip(clips[k], args.out / "drivers" / f"emoji_{i}{k}.webp")
            portraits[f"emoji_{i}{k}"] = clips[2 + k]
    avatars = by_person(args.avatars)
    free = [clips[0] for name, clips in avatars.items() if name.split()[0] in FREE]
    for i, k in enumerate(np.linspace(0, len(free) - 1, AVATARS).astype(int)):
        portraits[f"avatar_{i}"] = free[k]
    for name, clip in portraits.items():
        picture = cut(clip.pictures(np.array([0]))[0], CONFIG.size)
        Image.fromarray(picture).save(args.out / "portraits" / f"{name}.png", optimize=True)


def by_person(folder: str) -> dict[str, list[sources.PreparedClip]]:
    """Clips of a test split that are long enough."""
    source, found = sources.Prepared(folder, "test"), {}
    for i in range(len(source)):
        clip = source[i]
        assert isinstance(clip, sources.PreparedClip), "encoded clips have no pictures"
        if len(clip) > CONFIG.frames:
            found.setdefault(clip.identity, []).append(clip)
    return found


def save_clip(clip: sources.PreparedClip, path: Path) -> None:
    """As many frames as are measured, and one, spread over the clip."""
    at = np.linspace(0, len(clip) - 1, CONFIG.frames + 1).astype(int)
    first, *rest = (Image.fromarray(cut(p, CONFIG.size)) for p in clip.pictures(at))
    first.save(path, save_all=True, append_images=rest, quality=92, method=6, duration=80)


if __name__ == "__main__":
    main()
