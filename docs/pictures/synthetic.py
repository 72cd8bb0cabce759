"""Makes synthetic_*.webp: synthetic people in every style, their 18 expressions, and a clip.

python docs/pictures/synthetic.py
"""

import pathlib

import numpy as np
from PIL import Image

from emoji_jax.data import synthetic
from emoji_jax.data.synthetic import clips

HERE = pathlib.Path(__file__).parent
SIZE = (112, 112)
# When an expression that moves to and fro shows best.
MOMENTS = {"blink": 0.21, "brows_raise": 0.25, "gaze_left_right": 0.3, "gaze_up_down": 0.7}


def save(rows: list[list[np.ndarray]], name: str) -> None:
    """Writes rows of pictures as one."""
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(HERE / f"synthetic_{name}.webp", quality=82, method=6)
    print(f"synthetic_{name}.webp: {sheet.shape[1]}x{sheet.shape[0]}")


def people() -> list[list[np.ndarray]]:
    """Returns one row per style, each of ten people in the middle of a clip of theirs."""
    per = clips.CLIPS_PER_IDENTITY
    return [
        [synthetic.clip(3, per * (10 * row + i) + 1, 9, SIZE, style=style)[0][4] for i in range(10)]
        for row, style in enumerate(("shaded", "shaded", "flat", "flat", "line", "stone"))
    ]


def expressions() -> list[list[np.ndarray]]:
    """Returns all expressions by four people, nine in a row, in the order of `EXPRESSIONS`."""
    names, rows = sorted(synthetic.EXPRESSIONS), []
    for half in (names[:9], names[9:]):
        for index, style in ((32, "shaded"), (16, "flat"), (80, "line"), (48, "stone")):
            person, row = synthetic.portrait(1, index, style), []
            for name in half:
                moment = np.array([MOMENTS.get(name, 0.15 if name == "head_shake" else 0.5)])
                row.append(synthetic.render(person, synthetic.EXPRESSIONS[name](moment), SIZE)[0])
            rows.append(row)
    return rows


def main() -> None:
    """Writes all sheets beside this file."""
    save(people(), "people")
    save(expressions(), "expressions")
    save([list(synthetic.clip(3, 8 * i + 2, 20, SIZE)[0][::2]) for i in (7, 1, 6)], "clips")


if __name__ == "__main__":
    main()
