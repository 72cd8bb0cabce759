"""Makes controls.webp: what every control of a motion does, at strengths of 0, 1 and 2.

python docs/pictures/controls.py --out docs/pictures/controls.webp

A row for each control, with a motion that it changes; for each strength landmarks and result.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax import Animator
from emoji_jax.data import synthetic
from emoji_jax.driver import MotionConfig
from emoji_jax.framing import FramingConfig
from emoji_jax.landmarks import Landmarks
from emoji_jax.landmarks.controls import Controls

FRAMES = 16
STRENGTHS = (0.0, 1.0, 2.0)
GAP = 8


def floating() -> Landmarks:
    """A head that goes to the side and comes nearer."""
    way = np.sin(np.linspace(0, 2 * np.pi, FRAMES))
    return synthetic.landmarks(synthetic.Expression(shift_x=1.5 * way, zoom=0.1 * way), (128, 128))


def main() -> None:
    """Animates, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    motions = {
        "expression": "expression:laugh",
        "eyes": "expression:blink",
        "brows": "expression:brows_raise",
        "mouth": "expression:mouth_open",
        "gaze": "expression:gaze_left_right",
        "rotation": "expression:head_shake",
        "translation": floating(),
    }
    model = Animator.load(args.checkpoint)
    side = model.config.size
    person = synthetic.portrait(99, 0, "shaded")
    (portrait,) = synthetic.render(person, synthetic.Expression(), side)
    rows = []
    for name, motion in motions.items():
        row = [np.repeat(portrait[None], FRAMES, 0)]
        for strength in STRENGTHS:
            animation = model(
                portrait,
                motion,
                moving=MotionConfig(controls=Controls(**{name: strength})),
                framing=FramingConfig(mode="letterbox", paste=False),
            )
            numbers = np.linspace(0, len(animation) - 1, FRAMES).round().astype(int)
            gap = np.full((FRAMES, side[0], GAP, 3), 255, np.uint8)
            made = np.stack(list(animation))[numbers]
            row += [gap, animation.actors[0].pictures.lines(numbers), made]
        rows.append(np.concatenate(row, 2))
    frames = [Image.fromarray(frame) for frame in np.concatenate(rows, 1)]
    frames[0].save(
        args.out, save_all=True, append_images=frames[1:], duration=90, loop=0, quality=60, method=6
    )


if __name__ == "__main__":
    main()
