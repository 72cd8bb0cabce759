"""Puts one clip of a run's sample grids below each other, step after step.

python docs/pictures/progress.py runs/stage1 --clips 2 4 --steps 250 1000 3000 --out progress.png

For each clip: landmarks, the truth after the reference, and the result at each step.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = 3


def main() -> None:
    """Writes one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", required=True, help="numbers, from 0")
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--side", type=int, default=128, help="of the run's pictures")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    grids = [
        np.asarray(Image.open(args.run / "samples" / f"validation_{step:07d}.png"))
        for step in args.steps
    ]
    columns = []
    for clip in args.clips:
        top, side = clip * ROWS * args.side, args.side
        given = [grids[0][top + i * side : top + (i + 1) * side] for i in range(2)]
        made = [grid[top + 2 * side : top + 3 * side] for grid in grids]
        columns.append(np.concatenate([*given, *made]))
    Image.fromarray(np.concatenate(columns, 1)).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
