"""`Identity`: how a synthetic person looks, whatever their face does. Sampled from a seed."""

import dataclasses

import numpy as np
from jaxtyping import Float64

from emoji_jax.data.synthetic import rig

STYLES = ("flat", "shaded", "line", "stone")
"""Cartoon, shaded 3-D, line drawing, sculpture."""

Colour = tuple[float | int, ...]
"""Three numbers in [0, 255]: RGB."""

SHAPES = {
    "width": (0.92, 1.1),
    "height": (0.95, 1.06),
    "jaw": (-0.16, 0.12),
    "chin": (-0.4, 0.9),
    "cheeks": (-0.3, 0.6),
    "eye_size": (1.05, 1.42),
    "eye_height": (1.2, 1.85),
    "eye_apart": (-0.15, 0.25),
    "eye_tilt": (-0.12, 0.14),
    "nose_size": (0.8, 1.3),
    "nose_length": (-0.4, 0.5),
    "nose_depth": (-1.1, 0.4),
    "mouth_width": (0.85, 1.25),
    "lips": (0.8, 1.4),
    "mouth_height": (-0.3, 0.35),
    "brow_height": (-0.6, 0.4),
}
"""Controls of a face's shape, and between what they vary."""

HAIRSTYLES = (
    *("bald", "horseshoe", "buzz", "short", "side", "quiff", "spiky", "curly", "afro", "mohawk"),
    *("bob", "long", "bangs", "wavy", "bun", "pigtails"),
)
_TALL = ("quiff", "spiky", "curly", "afro", "mohawk", "bun", "horseshoe")  # what no hat fits
HATS = ("none", "beanie", "cap", "hood", "headband")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square", "thick")
BACKGROUNDS = ("flat", "gradient", "glow", "stripes", "dots", "blobs")

_SKIN = (
    *((255, 224, 196), (250, 208, 172), (241, 194, 150), (232, 178, 138), (224, 166, 120)),
    *((205, 146, 104), (184, 124, 84), (158, 102, 66), (130, 82, 54), (104, 64, 44), (80, 50, 38)),
)
_FANTASY_SKIN = ((255, 214, 64), (150, 214, 108), (120, 176, 240), (204, 160, 240), (255, 176, 176))
_HAIR = (
    *((30, 26, 28), (46, 32, 26), (74, 46, 30), (104, 66, 38), (140, 92, 50), (178, 130, 72)),
    *((222, 184, 112), (240, 214, 150), (164, 70, 34), (198, 92, 44), (150, 150, 152)),
    (226, 226, 226),
)
_FANTASY_HAIR = ((70, 120, 220), (236, 110, 160), (80, 180, 120), (140, 90, 200), (240, 90, 70))
_IRIS = (
    *((70, 42, 24), (96, 60, 30), (130, 88, 40), (92, 120, 60), (60, 130, 100), (70, 130, 190)),
    *((110, 150, 190), (90, 104, 116)),
)
_INK = ((24, 22, 26), (40, 30, 60), (70, 40, 24))
_FRAMES = ((30, 30, 34), (90, 50, 30), (150, 30, 40), (40, 60, 110))
_STONE = ((188, 184, 176), (214, 208, 198), (150, 146, 142), (176, 148, 116), (120, 128, 120))


@dataclasses.dataclass(frozen=True, eq=False)
class Identity:
    """A synthetic person: shape, colours and things worn, drawn in one style."""

    style: str
    """One of `STYLES`."""
    shape: dict[str, float]
    """By the names of `SHAPES`."""
    skin: Colour
    lips: Colour
    hair: str
    """One of `HAIRSTYLES`."""
    hair_colour: Colour
    hair_volume: float
    hair_part: float
    """Where the parting is, from -1 to 1."""
    brow: float
    """Thickness relative to the usual."""
    brow_colour: Colour
    iris_colour: Colour
    iris: float
    """Radius in cm."""
    lashes: float
    """Width of the upper lid's line, in cm."""
    blush: float
    freckles: bool
    beard: str
    """One of `BEARDS`."""
    glasses: str
    """One of `GLASSES`."""
    glasses_colour: Colour
    hat: str
    """One of `HATS`."""
    hat_colour: Colour
    earrings: bool
    shirt: Colour
    background: str
    """One of `BACKGROUNDS`."""
    background_colours: tuple[Colour, Colour]
    light: tuple[float, ...]
    """Direction to the light, in camera space."""
    contrast: float
    """How dark shadows are, from 0 to 1."""
    outline: float
    """Width of drawn outlines, in cm; 0 for none."""
    cover: float
    """The face's height from chin to hairline, in heights of the picture."""
    noise: int
    """Seed of textures."""


def sample(rng: np.random.Generator, style: str | None = None) -> Identity:
    """Returns a random person; the same numbers give the same one in every style."""
    choose = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    drawn = choose(("shaded", "flat", "shaded", "flat", "shaded", "line", "stone", "shaded"))
    style = drawn if style is None else style
    # Extremes are rarer than the middle.
    shape = {name: low + (high - low) * rng.beta(1.6, 1.6) for name, (low, high) in SHAPES.items()}
    big_eyes, fantasy, fantasy_hair = rng.uniform(0, 1, 3)
    if style in ("flat", "line") and big_eyes < 0.6:
        shape["eye_size"] *= 1.2
        shape["eye_height"] *= 1.08
        shape["nose_size"] *= 0.85
    skin = _vary(rng, choose(_SKIN), 8.0)
    odd_skin, hair, odd_hair = choose(_FANTASY_SKIN), choose(_HAIR), choose(_FANTASY_HAIR)
    if fantasy < (0.3 if style == "flat" else 0.08):
        skin = _vary(rng, odd_skin, 8.0)
    hair = _vary(rng, odd_hair if fantasy_hair < 0.12 else hair, 8.0)
    rosy = rng.uniform(0.2, 0.75)
    red = choose(((200, 70, 80), (176, 60, 64), (214, 96, 110), (150, 40, 70)))
    lips = mix(tuple(0.82 * c for c in skin), red, rosy)
    feminine, hatted = rng.uniform(0, 1, 2)
    hair_style = choose(HAIRSTYLES[:10] if feminine < 0.5 else HAIRSTYLES[3:])
    beard = choose(BEARDS)
    glasses, glasses_on = choose(GLASSES[1:]), rng.uniform()
    iris_colour = _vary(rng, choose(_IRIS), 10.0)
    hat = choose(HATS[1:]) if hatted < 0.16 else "none"
    if hat not in ("none", "headband") and hair_style in _TALL:
        hair_style = "short"
    azimuth, height = rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.9)
    light = np.array([azimuth, height, 1.1])
    identity = Identity(
        style=style,
        shape=shape,
        skin=skin,
        lips=lips,
        hair=hair_style,
        hair_colour=hair,
        hair_volume=rng.uniform(0.7, 1.3),
        hair_part=rng.uniform(-1, 1),
        brow=rng.uniform(0.55, 1.25),
        brow_colour=mix(hair, (30, 22, 20), 0.45),
        iris_colour=iris_colour,
        iris=rng.uniform(0.56, 0.66) * shape["eye_size"],
        lashes=rng.uniform(0.12, 0.2) if feminine < 0.5 else rng.uniform(0.18, 0.34),
        blush=rng.uniform(0.0, 0.5),
        freckles=bool(rng.uniform() < 0.12),
        beard=beard if feminine < 0.5 and rng.uniform() < 0.6 else "none",
        glasses=glasses if glasses_on < 0.2 else "none",
        glasses_colour=_vary(rng, choose(_FRAMES), 8.0),
        hat=hat,
        hat_colour=_bright(rng),
        earrings=bool(feminine > 0.5 and rng.uniform() < 0.35),
        shirt=_bright(rng),
        background=choose(BACKGROUNDS),
        background_colours=(_bright(rng), _bright(rng)),
        light=tuple(float(c) for c in light / np.linalg.norm(light)),
        contrast=rng.uniform(0.35, 0.8),
        outline=rng.uniform(0.1, 0.22) if rng.uniform() < 0.7 else 0.0,
        cover=rng.uniform(0.54, 0.62),
        noise=int(rng.integers(1 << 31)),
    )
    stone, ink = (_vary(rng, choose(options), 6.0) for options in (_STONE, _INK))
    if style == "stone":
        return _recolour(identity, stone)
    if style == "line":
        return _draw(identity, ink, tinted=bool(big_eyes < 0.3))
    return identity


def neutral(identity: Identity) -> Float64[np.ndarray, "468 3"]:
    """Returns the person's face at rest: the canonical mesh bent by smooth fields, in cm."""
    s = identity.shape
    base, _ = rig.mesh()
    v = base.copy()
    low = rig.ramp(-1.0, -8.0, base[:, 1])
    bump = lambda *where: rig.bump(base, *where)  # noqa: E731
    for side in (-1, 1):
        eye = np.array([side * 3.17, 2.62, 3.7])
        near = bump(tuple(eye), (2.1, 1.5, 3))
        opening = bump(tuple(eye), (1.9, 0.75, 3))
        v += near * (s["eye_size"] - 1) * (base - eye)
        v[:, 1:2] += opening * (s["eye_height"] - 1) * (base[:, 1:2] - eye[1])
        v += near * [side * s["eye_apart"], 0, 0]
        v[:, 1:2] += near * s["eye_tilt"] * side * (base[:, :1] - eye[0])
        v += bump((side * 3.2, 4.8, 4.4), (2.8, 1.1, 3)) * [0, s["brow_height"], 0]
        v += bump((side * 4.9, -2.2, 3), (2.2, 2.6, 3)) * [side * s["cheeks"], 0, 0.5 * s["cheeks"]]
    tip = np.array([0, -0.8, 5.5])
    nose = bump((0, -0.8, 6.5), (2.0, 1.9, 3))
    v[:, :2] += nose * (s["nose_size"] - 1) * (base - tip)[:, :2]
    v += nose * [0, -s["nose_length"], s["nose_depth"]]
    mouth = bump((0, -4.3, 5), (3.2, 1.8, 4))
    v[:, :1] += mouth * (s["mouth_width"] - 1) * base[:, :1]
    v[:, 1:2] += bump((0, -4.3, 5), (2.4, 1.2, 4)) * (s["lips"] - 1) * (base[:, 1:2] + 4.27)
    v += mouth * [0, s["mouth_height"], 0]
    v[:, 0] *= 1 + s["jaw"] * low
    v[:, 1] -= s["chin"] * rig.ramp(-5.0, -9.0, base[:, 1])
    return v * [s["width"], s["height"], 1]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Returns a colour that is `share` b and the rest a."""
    return tuple(float(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def _vary(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    return tuple(
        float(c) for c in np.clip(np.array(colour) + rng.uniform(-amount, amount, 3), 0, 255)
    )


def _bright(rng: np.random.Generator) -> Colour:
    """Returns any colour that is neither very dark nor grey."""
    hue, saturation, value = rng.uniform(0, 6), rng.uniform(0.15, 0.75), rng.uniform(110, 245)
    k = (np.array([5, 3, 1]) + hue) % 6
    level = value * (1 - saturation * np.minimum(k, 4 - k).clip(0, 1))
    return tuple(float(c) for c in level)


def _recolour(identity: Identity, stone: Colour) -> Identity:
    """Makes everything of one stone, features a little darker or lighter."""
    shade = lambda factor: tuple(min(255.0, factor * c) for c in stone)  # noqa: E731
    grey = tuple(mix(c, (130, 132, 138), 0.6) for c in identity.background_colours)
    return dataclasses.replace(
        identity,
        **dict(skin=shade(1.0), lips=shade(0.86), hair_colour=shade(0.93), brow_colour=shade(0.72)),
        **dict(iris_colour=shade(0.5), hat_colour=shade(0.95), shirt=shade(0.95), freckles=False),
        **dict(glasses="none", blush=0.0, background_colours=grey, contrast=0.85, outline=0.0),
    )


def _draw(identity: Identity, ink: Colour, *, tinted: bool) -> Identity:
    """Makes everything ink on paper, or lightly coloured."""
    paper = (250.0, 248.0, 242.0)
    tint = lambda colour, share=0.3: mix(paper, colour, share if tinted else 0.0)  # noqa: E731
    dark = sum(identity.hair_colour) < 250
    return dataclasses.replace(
        identity,
        **dict(skin=tint(identity.skin), lips=mix(tint(identity.lips), ink, 0.25), blush=0.0),
        hair_colour=mix(paper, ink, 0.85) if dark else tint(identity.hair_colour),
        **dict(
            brow_colour=ink, iris_colour=mix(identity.iris_colour, ink, 0.4), glasses_colour=ink
        ),
        **dict(hat_colour=tint(identity.hat_colour), shirt=tint(identity.shirt), freckles=False),
        **dict(background="flat", background_colours=(paper, paper), contrast=0.0),
        outline=max(identity.outline, 0.18),
    )
