"""Draws held-out portraits that follow motions, as an animated picture.

python docs/pictures/animations.py --data DATASET ... --out docs/pictures/animations.webp

Columns are portraits, the first row as they are; each further row is a motion, its landmarks on the
first portrait in the first column. Videos given as motions are not shown themselves.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax import animator
from emoji_jax.data import sources
from emoji_jax.data.transforms import cut
from emoji_jax.driver import MotionConfig
from emoji_jax.framing import FramingConfig

MOTIONS = ("expression:laugh", "expression:mouth_open", "expression:blink", "expression:head_shake")


def main() -> None:
    """Writes one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--data", nargs="+", required=True, help="prepared datasets")
    parser.add_argument("--each", type=int, default=2, help="portraits of each dataset")
    parser.add_argument("--motions", nargs="+", default=MOTIONS)
    parser.add_argument("--frames", type=int, default=24, help="at 12 per second")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = animator.Animator.load(args.checkpoint)
    side = model.config.size[0]
    portraits = []
    for folder in args.data:
        test = sources.Prepared(folder, "test")
        chosen = np.unique(np.linspace(0, len(test) - 1, args.each).astype(int))
        portraits += [cut(test[int(i)].pictures(np.array([0]))[0], side) for i in chosen]
    whole = FramingConfig(mode="letterbox", paste=False)
    moving = MotionConfig(fps=12.0)
    still = np.concatenate([np.full_like(portraits[0], 255), *portraits], 1)
    rows = [np.repeat(still[None], args.frames, 0)]
    for motion in args.motions:
        animations = [model(p, motion, moving=moving, framing=whole) for p in portraits]
        numbers = np.linspace(0, len(animations[0]) - 1, args.frames).round().astype(int)
        drawn = animations[0].actors[0].pictures.lines(numbers)
        made = [np.stack(list(animation))[numbers] for animation in animations]
        rows.append(np.concatenate([drawn, *made], 2))
    frames = [Image.fromarray(frame) for frame in np.concatenate(rows, 1)]
    frames[0].save(
        args.out, save_all=True, append_images=frames[1:], duration=83, loop=0, quality=70, method=6
    )


if __name__ == "__main__":
    main()
