"""Colours of skin and hair, and what is simple enough to be drawn flat: ears, buns, shoulders."""

import itertools

import numpy as np
from jaxtyping import Float64

from emoji_jax.data.synthetic import head, rig
from emoji_jax.data.synthetic.features import dark
from emoji_jax.data.synthetic.identity import Identity, mix
from emoji_jax.data.synthetic.paint import Canvas, disc, smooth

BALLS = {
    "bun": np.array([[0.0, 13.6, -5.5]]),
    "pigtails": np.array(
        [[-9.6, 6.0, -5.0], [9.6, 6.0, -5.0], [-10.6, 2.2, -5.0], [10.6, 2.2, -5.0]]
    ),
}
"""Centres of buns and pigtails, behind the face; all have the same radius."""
_BALL = 3.0
_JAW = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)


def skin_albedo(identity: Identity) -> Float64[np.ndarray, "T 3"]:
    """Returns the colour of every triangle of face and skull: skin, blush, beard, shadows."""
    base, _ = rig.mesh()
    v = np.concatenate([base, head.skull(base)])
    skin = np.array(identity.skin)
    colours = np.tile(skin, (len(v), 1)).astype(np.float64)
    bump = lambda *where: rig.bump(v, *where)  # noqa: E731

    def blend(weight: np.ndarray, colour: object) -> None:
        colours[:] += weight * (np.array(colour) - colours)

    red = np.array([1.0, 0.55, 0.5]) * skin
    if identity.style in ("flat", "shaded"):
        for side in (-1, 1):
            blend(identity.blush * bump((side * 4.4, -1.6, 3.8), (1.7, 1.3, 3)), red)
        blend(0.6 * identity.blush * bump((0, -0.9, 7.5), (1.4, 1.0, 1.6)), red)
    if identity.style in ("shaded", "stone"):
        deep = dark(identity.skin, 0.62)
        for side in (-1, 1):
            blend(0.45 * bump((side * 3.1, 3.1, 3.9), (1.6, 0.8, 3)), deep)
            blend(0.3 * bump((side * 1.5, 2.4, 4), (0.6, 1.0, 2)), deep)
            blend(0.35 * bump((side * 1.7, -1.7, 5), (0.6, 0.5, 2)), deep)
        blend(0.45 * bump((0, -2.15, 5.6), (0.9, 0.3, 1.5)), deep)
        blend(0.4 * bump((0, -6.0, 5), (1.3, 0.45, 2)), deep)
        blend(0.5 * rig.ramp(-8.6, -10.5, v[:, 1:2]) * rig.ramp(4.5, 2.0, v[:, 2:]), deep)
    beard = identity.beard
    if beard != "none":
        x, y = np.abs(v[:, :1]), v[:, 1:2]
        lip = ((v[:, :2] - [0, -4.3]) / [2.9, 1.25]) ** 2
        off_lips = rig.ramp(0.7, 1.3, lip.sum(axis=1, keepdims=True))
        upper = bump((0, -2.9, 5.5), (2.4, 0.75, 3)) * 1.3
        chin = rig.ramp(-4.9, -6.0, y) * rig.ramp(3.4, 2.2, x) * rig.ramp(-0.5, 1.0, v[:, 2:])
        cheek = rig.ramp(-1.6, -3.6, y + 0.55 * (x - 4)) * rig.ramp(-6, -3, v[:, 2:])
        weight = {
            "stubble": 0.3 * np.maximum(off_lips * np.maximum(cheek, upper), chin * off_lips),
            "moustache": upper * off_lips,
            "goatee": np.maximum(chin, upper * off_lips),
            "full": np.maximum(off_lips * np.maximum(cheek, upper), chin * off_lips),
        }[beard]
        blend(weight.clip(0, 0.92), identity.hair_colour)
    if identity.hair in ("buzz", "mohawk", "horseshoe") and identity.style != "line":
        blend(0.35 * rig.ramp(6.8, 8.5, v[:, 1:2]) * rig.ramp(5, 3, v[:, 2:]), identity.hair_colour)
    return colours[head.skull_faces()].mean(axis=1)


def strands(identity: Identity, name: str, rows: int) -> Float64[np.ndarray, "T 3"]:
    """Returns the colour of every face of a hair or hat shell of so many rows."""
    colour = np.array(identity.hair_colour if name == "hair" else identity.hat_colour)
    rng = np.random.default_rng(identity.noise + 1)
    columns = head.COLUMNS
    lightness = np.ones((rows - 1, columns))
    if name == "hair":
        amount = 0.04 if identity.style == "flat" else 0.1
        lightness += rng.uniform(-amount, amount, columns)
        if identity.hair in ("curly", "afro", "wavy"):
            lightness += rng.uniform(-amount, amount, lightness.shape)
    elif identity.hat in ("beanie", "cap"):
        lightness[-1] = 0.82
    if identity.style == "line":
        lightness[:] = 1
    return (lightness[..., None] * colour).reshape(-1, 3)


def ear(
    canvas: Canvas, outline: Float64[np.ndarray, "14 2"], identity: Identity, side: int
) -> None:
    """Draws an ear, its hollow, and an earring."""
    skin, centre = identity.skin, outline.mean(axis=0)
    shadow = 1.0 if identity.style == "line" else 0.93
    curve = smooth(outline, 2, closed=True)
    canvas.fill(curve, dark(skin, shadow))
    line = identity.brow_colour if identity.style == "line" else dark(skin, 0.6)
    if identity.outline and identity.style != "shaded":
        canvas.line(np.concatenate([curve, curve[:2]]), line, identity.outline)
    if identity.style != "line":
        canvas.fill(centre + 0.55 * (curve - centre), dark(skin, 0.76))
    if identity.earrings:
        lobe = outline[np.argmax(outline[:, 1])]
        r = 0.42 * canvas.scale
        gold = mix((236, 196, 80), identity.skin, 0.0 if identity.style != "stone" else 0.9)
        canvas.fill(disc(np.add(lobe, (0, r)), np.array([r, 0]), np.array([0, r]), 12), gold)


def balls(
    canvas: Canvas, seen: Float64[np.ndarray, "N 3"], identity: Identity, *, front: bool
) -> None:
    """Draws buns or pigtails; all are behind the face, none in front."""
    if front:
        return
    for x, y, _ in seen:
        light = np.array(identity.light[:2]) * [1, -1]
        steps = 1 if identity.style in ("flat", "line") else 4
        for step in range(steps):
            r = _BALL * canvas.scale * (1 - 0.2 * step)
            centre = np.array([x, y]) + light * 0.5 * step * canvas.scale
            tone = 0.75 + 0.1 * step if steps > 1 else 0.95
            ring = disc(centre, np.array([r, 0]), np.array([0, r]), 28)
            colour = tuple(tone * c for c in identity.hair_colour)
            canvas.fill(ring, identity.hair_colour if identity.style == "line" else colour)
            if identity.outline and not step and identity.style != "shaded":
                ink = identity.brow_colour if identity.style == "line" else (40, 30, 30)
                canvas.line(np.concatenate([ring, ring[:2]]), ink, identity.outline)


def shoulders(
    canvas: Canvas,
    skin: Float64[np.ndarray, "V 2"],
    identity: Identity,
    size: tuple[int, int],
    scale: float,
    shift: Float64[np.ndarray, "3"],
) -> None:
    """Draws neck and shirt: they stay while the head turns, and follow it by a third."""
    height, width = size
    middle = width / 2 + 0.33 * scale * shift[0]
    base = 0.535 * height + scale * (12.6 - 0.3 * shift[1])
    jaw = (skin[172] + skin[397]) / 2
    half, lean = 4.9 * scale * identity.shape["width"], 0.35 * (jaw[0] - middle)
    neck = identity.skin
    tone = 1.0 if identity.style == "line" else 0.9
    edges = np.linspace(-1, 1, 19 if identity.style in ("shaded", "stone") else 2)
    light = identity.light[0]
    for left, right in itertools.pairwise(edges):
        turn = (left + right) / 2
        level = tone * (1 + identity.contrast * (0.25 * turn * light - 0.22 * turn**2))
        strip = [
            (middle + 1.15 * left * half, base + 4 * scale),
            (middle + lean + left * half, jaw[1] - scale),
            (middle + lean + right * half, jaw[1] - scale),
            (middle + 1.15 * right * half, base + 4 * scale),
        ]
        canvas.fill(np.array(strip), dark(neck, level if len(edges) > 2 else tone))
    if identity.style != "line":
        # The chin's shadow: the jaw, further down.
        top, foot = middle + lean, 1.15 * half
        outline = [(top - half, jaw[1] - scale), (top + half, jaw[1] - scale)]
        outline += [(middle + foot, height), (middle - foot, height)]
        with canvas.clipped(np.array(outline)) as below:
            below.fill(np.add(skin[list(_JAW)], (0, 1.5 * scale)), dark(neck, 0.72))
    collar = np.array([(-1.3, 0.2), (-0.75, 0.9), (0, 1.25), (0.75, 0.9), (1.3, 0.2)]) * [
        half,
        1.6 * scale,
    ] + [middle, base - 0.6 * scale]
    side = np.array([(1.9, 0.9), (3.1, 2.0), (4.2, 5.5), (4.4, 14)])
    right = side * [half, scale] + [middle, base - 0.6 * scale]
    left = side[::-1] * [-half, scale] + [middle, base - 0.6 * scale]
    shirt = smooth(np.concatenate([left, collar, right]), 3)
    canvas.fill(shirt, identity.shirt)
    ink = identity.brow_colour if identity.style == "line" else dark(identity.shirt, 0.6)
    canvas.line(smooth(collar), ink, max(0.12, identity.outline))
    if identity.outline and identity.style != "shaded":
        canvas.line(shirt, ink, identity.outline)
