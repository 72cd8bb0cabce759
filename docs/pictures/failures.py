"""Draws what goes wrong, with the bundled checkpoint: the pictures of docs/failures.md.

python docs/pictures/failures.py --out docs/pictures

Each picture: the portrait, then moments on the way to the strongest one; above them the landmarks
that were asked for. Portraits are synthetic people, or an emoji that comes with the package (MIT).
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import emoji_jax
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.data.synthetic import Expression
from emoji_jax.driver import Motion, MotionConfig
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig
from emoji_jax.images import Picture, read_image
from emoji_jax.landmarks import Controls, Landmarks

_SIDE, _SHOWN = 160, 4
_EMOJI = Path(emoji_jax.__file__).parent / "bench" / "material" / "portraits" / "emoji_01.png"
# Not a seed of training data, nor of the benchmark.
_SEED = 20_261_126


@dataclasses.dataclass(frozen=True)
class Case:
    """Something that goes wrong: a portrait, a motion, options."""

    portrait: Callable[[], Picture]
    motion: Motion
    moving: MotionConfig = MotionConfig()
    framing: FramingConfig = FramingConfig()


def person(index: int, style: str = "shaded", size: int = 256, **does: float) -> Picture:
    """One synthetic person, who does something."""
    looks = synthetic.portrait(_SEED, synthetic.CLIPS_PER_IDENTITY * index, style)
    return synthetic.render(looks, Expression(**does), (size, size))[0]


def towards(frames: int = 25, **most: float) -> Landmarks:
    """A motion of the rig's average face: from rest to the most of some controls."""
    way = np.linspace(0, 1, frames)
    does = Expression(**{name: value * way for name, value in most.items()})
    return synthetic.landmarks(does, (512, 512))


def covered(picture: Picture) -> Picture:
    """With a cloth before nose and mouth."""
    image = Image.fromarray(picture)
    width, height = image.size
    box = (0.3 * width, 0.55 * height, 0.7 * width, 0.85 * height)
    ImageDraw.Draw(image).rounded_rectangle(box, 0.1 * width, fill=(150, 190, 215))
    return np.asarray(image)


def house() -> Picture:
    """Nobody."""
    image = Image.new("RGB", (256, 256), (190, 215, 235))
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 120, 196, 220), fill=(225, 200, 150))
    draw.polygon([(45, 120), (128, 50), (211, 120)], fill=(150, 70, 50))
    draw.rectangle((110, 165, 146, 220), fill=(110, 75, 45))
    return np.asarray(image)


def two() -> Picture:
    """Two people side by side."""
    return np.concatenate([person(1), person(6, "flat")], 1)


_ALL = FramingConfig(face="all")
# The rig turns by 40 degrees at most.
_FARTHER = MotionConfig(controls=Controls(rotation=1.75))
_THREE_TIMES = MotionConfig(controls=Controls(mouth=3.0))
CASES = {
    "no_face": Case(house, "expression:laugh"),
    "upside_down": Case(lambda: person(1)[::-1, ::-1].copy(), "expression:laugh"),
    "covered": Case(lambda: covered(person(2)), "expression:laugh"),
    "turned_driver": Case(lambda: person(1), towards(yaw=40), _FARTHER),
    "turned_portrait": Case(lambda: person(1, yaw=40), "expression:mouth_open"),
    "away": Case(lambda: person(2), towards(shift_x=4, shift_y=3)),
    "exaggerated": Case(lambda: person(1), "expression:mouth_open", _THREE_TIMES),
    "grin": Case(lambda: person(5, jaw_open=0.7, smile_left=1, smile_right=1), "expression:laugh"),
    "cheeks": Case(lambda: person(1), "expression:cheek_puff"),
    "sculpture": Case(lambda: person(3, "stone"), "expression:mouth_open"),
    "drawing": Case(lambda: person(4, "line"), "expression:laugh"),
    "wink": Case(lambda: read_image(_EMOJI), "expression:wink"),
    "two": Case(two, "expression:mouth_open"),
    "two_all": Case(two, "expression:mouth_open", framing=_ALL),
}


def shown(picture: Picture) -> Picture:
    """A picture at the height of a strip."""
    width = round(_SIDE * picture.shape[1] / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, _SIDE), Image.Resampling.LANCZOS))


def strip(animator: Animator, case: Case) -> Picture:
    """Portrait and some frames; above them the landmarks of one face, if there is but one."""
    portrait = case.portrait()
    animation = animator(portrait, case.motion, moving=case.moving, framing=case.framing)
    for note in animation.notes:
        print(f"  note: {note}")
    pictures = animation.actors[0].pictures
    drawn = pictures.lines(np.arange(len(animation)))
    strongest = np.abs(drawn.astype(int) - drawn[0]).mean((1, 2, 3)).argmax()
    at = np.linspace(0, strongest, _SHOWN + 1).round().astype(int)
    frames = list(animation)
    below = [portrait, *(frames[i] for i in at[1:])]
    rows = [[shown(frame) for frame in below]]
    if portrait.shape[0] == portrait.shape[1]:
        rows.insert(0, [shown(drawn[i]) for i in at])
    return np.concatenate([np.concatenate(row, 1) for row in rows])


def main() -> None:
    """Writes one picture for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(CASES))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    animator = Animator.load("tiny")
    for name in args.only:
        print(name)
        try:
            picture = strip(animator, CASES[name])
        except UserError as error:
            print(f"  error: {error}")
            picture = shown(CASES[name].portrait())
        file = args.out / f"failure_{name}.webp"
        Image.fromarray(picture).save(file, quality=80, method=6)


if __name__ == "__main__":
    main()
