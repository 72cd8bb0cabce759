"""Eyes, mouth, brows, nose and glasses, as polygons through the rings of landmarks."""

import numpy as np
from jaxtyping import Float64

from emoji_jax.data.synthetic import rig
from emoji_jax.data.synthetic.identity import Colour, Identity, mix
from emoji_jax.data.synthetic.paint import Canvas, disc, smooth

_EYES = {
    # Lower arc and upper arc between the corners, crease, iris.
    "right": (
        (33, 7, 163, 144, 145, 153, 154, 155, 133),
        (33, 246, 161, 160, 159, 158, 157, 173, 133),
        (247, 30, 29, 27, 28, 56, 190),
        range(468, 473),
    ),
    "left": (
        (263, 249, 390, 373, 374, 380, 381, 382, 362),
        (263, 466, 388, 387, 386, 385, 384, 398, 362),
        (467, 260, 259, 257, 258, 286, 414),
        range(473, 478),
    ),
}
_BROWS = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
)
_NOSTRILS = ((60, 75, 240, 99), (290, 305, 460, 328))
_NOSE_BASE = (129, 98, 97, 2, 326, 327, 358)
_FRECKLED = (
    *(50, 101, 36, 205, 118, 117, 119, 100, 142, 203, 195, 5, 4),
    *(280, 330, 266, 425, 347, 346, 348, 329, 371, 423),
)
_TOOTH = np.linspace(-2.7, 2.7, 13)


def dark(colour: Colour, factor: float) -> Colour:
    """Returns a colour made darker, shadows a little redder than they were."""
    return (colour[0] * factor**0.8, colour[1] * factor, colour[2] * factor)


def eye(
    canvas: Canvas, points: Float64[np.ndarray, "478 2"], identity: Identity, side: str
) -> None:
    """Draws one eye: white, iris, pupil, glint, the lid's shadow, lashes, crease."""
    lower, upper, crease, iris = _EYES[side]
    low, up = smooth(points[list(lower)]), smooth(points[list(upper)])
    ring = np.concatenate([low, up[::-1][1:-1]])
    line, stone = identity.style == "line", identity.style == "stone"
    lash = dark(identity.skin, 0.42) if stone else mix(identity.brow_colour, (20, 14, 14), 0.6)
    white = mix(identity.skin, (255, 255, 255), 0.4) if stone else (250, 249, 246)
    opening = np.linalg.norm(points[upper[4]] - points[lower[4]])
    if opening > 0.06 * canvas.scale:
        with canvas.clipped(ring) as inside:
            inside.fill(ring, white)
            if not line:
                # The lid's shadow on the ball.
                drop = 0.3 * (points[lower[4]] - points[upper[4]])
                inside.fill(np.concatenate([up, up[::-1] + drop]), dark(white, 0.84))
            centre, right, above = (points[iris[i]] for i in range(3))
            right, above = right - centre, above - centre
            colour, ring_colour = identity.iris_colour, dark(identity.iris_colour, 0.45)
            inside.fill(disc(centre, right, above), ring_colour)
            inside.fill(disc(centre, 0.84 * right, 0.84 * above), colour)
            if not (line or stone):
                glow = mix(colour, (255, 255, 255), 0.22)
                inside.fill(disc(centre - 0.25 * above, 0.6 * right, 0.5 * above), glow)
            pupil = dark(identity.iris_colour, 0.35) if stone else (14, 10, 12)
            inside.fill(disc(centre, 0.46 * right, 0.46 * above, 14), pupil)
            if not stone:
                size = 0.24 * np.linalg.norm(above)
                spot = centre - 0.3 * right + 0.36 * above
                inside.fill(disc(spot, np.array([size, 0]), np.array([0, size]), 10), (255,) * 3)
    if not line:
        canvas.line(low, dark(identity.skin, 0.66), 0.06)
        canvas.line(smooth(points[list(crease)]), dark(identity.skin, 0.72), 0.07)
    else:
        canvas.line(low, lash, 0.06)
    canvas.line(up, lash, identity.lashes * (0.6 if stone else 1))


def brows(canvas: Canvas, points: Float64[np.ndarray, "478 2"], identity: Identity) -> None:
    """Draws both brows, thin at their outer ends."""
    taper = identity.brow * np.array([0.25, 0.75, 1.0, 0.95, 0.8])[:, None] / 2
    for upper, lower in _BROWS:
        top, bottom = points[list(upper)], points[list(lower)]
        middle, half = (top + bottom) / 2, (top - bottom) * taper
        outline = np.concatenate([smooth(middle + half), smooth(middle - half)[::-1]])
        canvas.fill(outline, identity.brow_colour)


def nose(canvas: Canvas, points: Float64[np.ndarray, "478 2"], identity: Identity) -> None:
    """Draws nostrils; where there is no shading, also the line below the nose."""
    shade = dark(identity.skin, 0.5)
    for ids in _NOSTRILS:
        hole = points[list(ids)]
        centre, half = hole.mean(axis=0), np.ptp(hole, axis=0) / 2
        axes = np.array([half[0] * 0.8, 0]), np.array([0, max(half[1], 0.12 * canvas.scale) * 0.6])
        canvas.fill(disc(centre, *axes, 10), shade)
    if identity.style in ("flat", "line"):
        colour = identity.brow_colour if identity.style == "line" else dark(identity.skin, 0.6)
        canvas.line(smooth(points[list(_NOSE_BASE)]), colour, 0.1)


def freckles(canvas: Canvas, points: Float64[np.ndarray, "478 2"], identity: Identity) -> None:
    """Draws a few dots on cheeks and nose."""
    size = 0.1 * canvas.scale
    for point in points[list(_FRECKLED)]:
        dot = disc(point, np.array([size, 0.0]), np.array([0.0, size]), 8)
        canvas.fill(dot, dark(identity.skin, 0.74))


def mouth(
    canvas: Canvas,
    points: Float64[np.ndarray, "478 2"],
    inner: Float64[np.ndarray, "68 2"],
    identity: Identity,
    *,
    tongue_out: float,
) -> None:
    """Draws the open mouth with teeth and tongue, and the lips around it."""
    stone, line = identity.style == "stone", identity.style == "line"
    teeth, tongue = inner[:52].reshape(4, 13, 2), inner[52:]
    top, bottom = smooth(points[list(rig.UPPER_LIP)]), smooth(points[list(rig.LOWER_LIP)])
    ring = np.concatenate([top, bottom[::-1][1:-1]])
    lips, inside_colour = identity.lips, (92, 22, 28)
    enamel, flesh = (246, 243, 234), (208, 92, 98)
    if stone:
        inside_colour, enamel, flesh = (
            tuple(f * c for c in identity.skin) for f in (0.32, 0.95, 0.62)
        )
    elif line:
        inside_colour, flesh = dark(identity.brow_colour, 0.9), mix(lips, (255, 255, 255), 0.2)
    gap = (bottom - top)[len(top) // 2]
    opening = np.linalg.norm(gap)
    if opening > 0.08 * canvas.scale:
        with canvas.clipped(ring) as inside:
            inside.fill(ring, inside_colour)
            if not line:  # darker behind the lip
                inside.fill(np.concatenate([top, top[::-1] + 0.35 * gap]), dark(inside_colour, 0.7))
            inside.fill(tongue, flesh)
            if not line:
                inside.line(tongue[[4, 12]], dark(flesh, 0.8), 0.08)
            for row in (teeth[2:], teeth[:2]):
                outline = np.concatenate([row[0], row[1][::-1]])
                inside.fill(outline, dark(enamel, 0.9) if row is teeth[2:] else enamel)
                for root, edge in zip(row[0][1:-1], row[1][1:-1], strict=True):
                    inside.line(np.stack([root, edge]), dark(enamel, 0.82), 0.02)
                inside.line(row[1], dark(enamel, 0.72), 0.04)
    edge_top = smooth(points[list(rig.UPPER_LIP_EDGE)])
    edge_bottom = smooth(points[list(rig.LOWER_LIP_EDGE)])
    canvas.fill(np.concatenate([edge_top, top[::-1]]), dark(lips, 0.88))
    canvas.fill(np.concatenate([edge_bottom, bottom[::-1]]), lips)
    if not line:
        # A soft highlight in the middle of the lower lip.
        n = len(bottom)
        middle = slice(n // 3, n - n // 3)
        band = [bottom[middle] + s * (edge_bottom - bottom)[middle] for s in (0.35, 0.6)]
        glint = mix(lips, (255, 255, 255), 0.18)
        canvas.fill(np.concatenate([band[0], band[1][::-1]]), glint)
    else:
        canvas.line(edge_top, identity.brow_colour, 0.06)
        canvas.line(edge_bottom, identity.brow_colour, 0.06)
    seam = identity.brow_colour if line else dark(lips, 0.45)
    canvas.line(top, seam, 0.09 if opening < 0.15 * canvas.scale else 0.05)
    if opening >= 0.15 * canvas.scale:
        canvas.line(bottom, seam, 0.05)
    if tongue_out > 0.05 and opening > 0.3 * canvas.scale:
        n = len(top)
        root = (top + 0.45 * (bottom - top))[[n // 2 - 5, n // 2 + 5]]
        across = 0.75 * (root[1] - root[0])
        down = np.array([-across[1], across[0]]) / max(np.linalg.norm(across), 1e-6)
        reach = down * (opening * 0.5 + tongue_out * 2.0 * canvas.scale)
        middle = root.mean(axis=0)
        tip = disc(middle + reach * 0.7, 0.8 * across, 0.45 * reach, 18)
        body = np.stack([middle - 0.8 * across, middle + 0.8 * across])
        body = np.concatenate([body, body[::-1] + 0.7 * reach])
        canvas.fill(body, flesh)
        canvas.fill(tip, flesh)
        canvas.line(np.stack([middle, middle + 0.8 * reach]), dark(flesh, 0.8), 0.1)


def teeth_and_tongue(face: Float64[np.ndarray, "468 3"]) -> Float64[np.ndarray, "68 3"]:
    """Returns roots and edges of upper and lower teeth [4 13], then the tongue [16], at rest."""
    line = face[[13, 14], 1].mean()
    front = face[[13, 14], 2].mean() - 0.75
    across = _TOOTH * (face[308, 0] - face[78, 0]) / 4.3
    depth, bend = front - 0.2 * _TOOTH**2, 0.045 * _TOOTH**2
    rows = [
        np.stack([across, line + offset + curve * bend, depth + back], axis=1)
        for offset, back, curve in (
            *((1.7, 0.0, 0), (-0.3, 0.0, 1)),
            *((-1.7, -0.15, 0), (-0.5, -0.15, 0.5)),
        )
    ]
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    tongue = np.stack([1.55 * np.cos(angle), 0.75 * np.sin(angle), 0 * angle], axis=1)
    return np.concatenate([*rows, np.add(tongue, (0, line - 1.15, front - 0.9))])


def glasses(face: Float64[np.ndarray, "468 3"], kind: str) -> Float64[np.ndarray, "52 3"]:
    """Returns the rims [2 24], and a bridge and two temples as points [4]."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    power = 0.45 if kind == "square" else 1.0
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    along = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    rims, height = [], 1.55 if kind == "square" else 1.95
    z = face[[159, 386], 2].mean() + 0.9
    for ids in ((33, 133), (362, 263)):
        centre = face[list(ids)].mean(axis=0)
        rim = np.stack([2.1 * across, height * along - 0.15, -0.12 * np.abs(across)], axis=1)
        rims.append(np.add(rim, (centre[0] * 1.02, centre[1], z)))
    inner = [rims[0][0], rims[1][12]]
    outer = [
        [face[234, 0], rims[0][12][1], face[234, 2]],
        [face[454, 0], rims[1][0][1], face[454, 2]],
    ]
    return np.concatenate([*rims, inner, outer])


def draw_glasses(canvas: Canvas, points: Float64[np.ndarray, "52 2"], identity: Identity) -> None:
    """Draws rims, bridge and temples."""
    width = 0.42 if identity.glasses == "thick" else 0.2
    right, left, (inner_right, inner_left, outer_right, outer_left) = (
        points[:24],
        points[24:48],
        points[48:],
    )
    canvas.line(np.stack([right[12], outer_right]), identity.glasses_colour, width)
    canvas.line(np.stack([left[0], outer_left]), identity.glasses_colour, width)
    canvas.line(np.stack([inner_right, inner_left]), identity.glasses_colour, width)
    for rim in (right, left):
        canvas.line(np.concatenate([rim, rim[:2]]), identity.glasses_colour, width)
