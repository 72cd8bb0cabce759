"""Draws the tutorial's pictures, of the files that its commands made.

python docs/pictures/tutorial.py --made FOLDER --out docs/pictures
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax.video import open_video

# Of each file: how many frames are shown, and how high.
SHOWN = {"out.mp4": (6, 128), "mine.mp4": (6, 128), "grid.mp4": (3, 128), "more.mp4": (6, 128)}


def main() -> None:
    """Writes a row of frames for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--made", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name, (count, height) in SHOWN.items():
        frames = [Image.fromarray(frame) for frame, _ in open_video(args.made / name)]
        at = np.linspace(0, len(frames) // 2, count).round().astype(int)
        size = (round(height * frames[0].width / frames[0].height), height)
        row = [np.asarray(frames[i].resize(size, Image.Resampling.LANCZOS)) for i in at]
        file = args.out / f"tutorial_{Path(name).stem}.webp"
        Image.fromarray(np.concatenate(row, 1)).save(file, quality=80, method=6)


if __name__ == "__main__":
    main()
