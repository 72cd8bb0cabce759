"""What the face mesh lacks, in its own space: skull, hair, hats, ears; and the camera.

Lengths are in cm, in canonical space (x to the picture's right, y up, z forward).
"""

import functools
import itertools

import numpy as np
from jaxtyping import Float64

from emoji_jax.data.synthetic import rig
from emoji_jax.data.synthetic.expression import CONTROLS, Expression
from emoji_jax.data.synthetic.identity import Identity

CENTRE = np.array([0.0, 2.2, -3.0])
"""The middle of the skull."""
RADIUS = np.array([7.75, 9.6, 9.6])
"""The skull's half axes."""
PIVOT = np.array([0.0, -6.0, -3.0])
"""Heads turn about the top of the neck."""
DISTANCE = 75.0
"""From the camera to the canonical origin: that of a portrait, so that noses do not bulge."""
_FACE_HEIGHT = 17.66  # of the canonical face, from chin to hairline


def turn(expression: Expression) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 3"]]:
    """Returns the head's rotation and where its origin moves to (before the camera), in cm."""
    control = dict(zip(CONTROLS, expression.array().T, strict=True))
    yaw, pitch, roll = (np.radians(control[name]) for name in ("yaw", "pitch", "roll"))
    rotation = _axis(roll, 2) @ _axis(yaw, 1) @ _axis(-pitch, 0)
    # Half about the neck, half about the face's middle: faces stay in the picture.
    pivot = 0.5 * PIVOT
    shift = pivot - rotation @ pivot
    shift[:, 0] += control["shift_x"]
    shift[:, 1] += control["shift_y"]
    # Nearer, not enlarged, so that the picture stays one of a solid head.
    shift[:, 2] += DISTANCE * (1 - np.exp(-control["zoom"]))
    return rotation, shift


def _axis(angle: np.ndarray, axis: int) -> np.ndarray:
    """Returns rotations [F 3 3] about one axis."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, a, a] = matrix[:, b, b] = np.cos(angle)
    matrix[:, b, a] = np.sin(angle)
    matrix[:, a, b] = -np.sin(angle)
    return matrix


def focal(cover: float) -> float:
    """Returns the camera's focal length, in heights of the picture."""
    return cover * DISTANCE / _FACE_HEIGHT


def look(
    points: Float64[np.ndarray, "*F 3"], cover: float, size: tuple[int, int]
) -> Float64[np.ndarray, "*F 3"]:
    """Projects points (before the camera, cm) to pixels x, y and their distance in cm."""
    height, width = size
    distance = DISTANCE - points[..., 2]
    scale = focal(cover) * height / distance
    # A little lower than the middle, to leave room for hair.
    x = width / 2 + scale * points[..., 0]
    y = 0.535 * height - scale * (points[..., 1] + 0.55)
    return np.stack([x, y, distance], axis=-1)


@functools.cache
def skull_faces() -> np.ndarray:
    """Returns the triangles of face and skull [T 3]: 468 vertices, then `skull`'s."""
    _, triangles = rig.mesh()
    ring, rows = len(rig.OVAL), [np.array(rig.OVAL)]
    rows += [468 + ring * row + np.arange(ring) for row in range(_ROWS)]
    parts = [triangles]
    for near, far in itertools.pairwise(rows):
        a, b, c, d = near, np.roll(near, -1), far, np.roll(far, -1)
        parts += [np.stack([a, b, c], axis=1), np.stack([b, d, c], axis=1)]
    return np.concatenate(parts)


_ROWS = 5


def skull(face: Float64[np.ndarray, "468 3"]) -> Float64[np.ndarray, "S 3"]:
    """Returns rings of vertices from the border of a face round to the back of the head."""
    away = (face[list(rig.OVAL)] - CENTRE) / RADIUS
    length = np.linalg.norm(away, axis=1)
    start, around = np.arccos(away[:, 2] / length), np.arctan2(away[:, 1], away[:, 0])
    rows = []
    for share in np.linspace(0, 1, _ROWS + 1)[1:]:
        angle = start + (np.pi - start) * share
        scale = length + (1 - length) * share
        ring = np.stack(
            [np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=1
        )
        rows.append(CENTRE + RADIUS * ring * scale[:, None])
    return np.concatenate(rows)


# Of every style: the hairline's angle from the crown at azimuths 0 (front), 30, 55, 75, 100, 140,
# 180 degrees; thickness at the hairline and the crown; length that falls below the back's hairline.
_STYLES = {
    "horseshoe": ((60, 60, 70, 92, 100, 118, 122), 0.4, 0.7, 0),
    "buzz": ((50, 52, 58, 88, 100, 118, 122), 0.15, 0.15, 0),
    "short": ((52, 54, 58, 92, 102, 120, 124), 0.5, 1.2, 0),
    "side": ((55, 56, 60, 94, 102, 120, 124), 0.6, 1.6, 0),
    "quiff": ((50, 52, 57, 90, 100, 118, 122), 0.5, 2.4, 0),
    "spiky": ((53, 54, 58, 90, 100, 118, 122), 0.7, 2.0, 0),
    "curly": ((55, 56, 60, 96, 104, 122, 126), 1.5, 2.2, 0),
    "afro": ((54, 55, 60, 98, 112, 128, 130), 3.4, 4.4, 0),
    "mohawk": ((50, 52, 58, 88, 100, 118, 122), 0.1, 0.1, 0),
    "bob": ((64, 62, 62, 94, 104, 118, 122), 1.1, 1.4, 6),
    "long": ((52, 54, 59, 92, 102, 118, 122), 0.9, 1.2, 15),
    "bangs": ((70, 70, 68, 94, 104, 118, 122), 1.0, 1.2, 12),
    "wavy": ((53, 55, 60, 92, 102, 118, 122), 1.5, 1.8, 13),
    "bun": ((52, 54, 58, 86, 100, 118, 122), 0.4, 0.7, 0),
    "pigtails": ((54, 54, 58, 88, 100, 118, 122), 0.5, 0.8, 0),
}
COLUMNS, _SHELL_ROWS, _FALL_ROWS = 44, 7, 4


def shell_faces(rows: int) -> np.ndarray:
    """Returns the quadrangles [T 4] of a shell of so many rows, row by row."""
    index = np.arange(rows * COLUMNS).reshape(rows, COLUMNS)
    right = np.roll(index, -1, axis=1)
    return np.stack([index[:-1], index[1:], right[1:], right[:-1]], axis=-1).reshape(-1, 4)


def seen_columns(identity: Identity) -> np.ndarray:
    """Returns which columns [A] of the hair's quadrangles there are: some have a bald front."""
    around = np.abs(np.linspace(-180, 180, COLUMNS, endpoint=False) + 180 / COLUMNS)
    return (around > 60) | (identity.hair != "horseshoe")


def shell(identity: Identity) -> Float64[np.ndarray, "R A 3"] | None:
    """Returns the hair's outer surface: rows from the crown downwards, columns round the head.

    Column 0 is the front, later ones go round by the person's left; None for bald people.
    """
    if identity.hair == "bald":
        return None
    line, edge, crown, fall = _STYLES[identity.hair]
    rng = np.random.default_rng(identity.noise)
    around = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    degrees = np.degrees(np.abs(around))
    end = np.interp(degrees, (0, 30, 55, 75, 100, 140, 180), line)
    end += rng.uniform(-1.5, 1.5, COLUMNS)
    part = identity.hair_part
    if identity.hair in ("side", "bangs", "long", "wavy", "bob"):
        # Combed to one side: lower on that side of the forehead.
        end += 9 * np.sin(around) * np.sign(part) * (degrees < 62) * (identity.hair != "bangs")
    t = np.linspace(0.02, 1, _SHELL_ROWS)[:, None]
    start = 58 if identity.hair == "horseshoe" else 0
    angle = np.radians(start + (end - start) * t)
    thick = identity.hair_volume * (crown + (edge - crown) * t**1.5) * np.ones(COLUMNS)
    thick *= 1 - 0.75 * rig.ramp(0.8, 1.0, t) * (edge < 2)
    match identity.hair:
        case "spiky":
            spikes = rng.uniform(0, 1.8, thick.shape) * (np.arange(COLUMNS) % 2)
            thick += spikes * (t < 0.8)
        case "curly" | "afro" | "wavy":
            thick += rng.uniform(-0.45, 0.45, thick.shape) * (1 if fall == 0 else 0.6)
        case "mohawk":
            ridge = np.exp(-((np.sin(around) * np.sin(angle) / 0.2) ** 2))
            thick += ridge * (4.0 + rng.uniform(-0.8, 0.8, thick.shape)) * (t < 0.95)
        case "quiff":
            thick += 1.6 * np.exp(-((degrees / 45) ** 2)) * np.exp(-(((t - 0.75) / 0.25) ** 2))
        case "side":
            thick += 0.9 * rig.ramp(-0.5, 0.8, np.sin(around) * np.sign(part)) * (1 - t)
    surface = _sphere(around, angle, 1.04 * RADIUS + thick[..., None], identity)
    if not fall:
        return surface
    length = fall * identity.hair_volume * rig.ramp(62, 84, degrees)
    rows, last = [surface], surface[-1]
    out = np.stack([np.sin(around), 0 * around, np.cos(around)], axis=1)
    for row in range(1, _FALL_ROWS + 1):
        share = row / _FALL_ROWS
        sway = rng.uniform(-0.5, 0.5, COLUMNS) if identity.hair == "wavy" else 0 * around
        curl = 0.55 * np.sin(share * np.pi) + sway - (0.9 * share if fall < 8 else 0)
        step = out * (curl * (length > 0.5))[:, None]
        down = length * share + rng.uniform(-0.3, 0.3, COLUMNS) * (length > 0.5)
        step[:, 1] -= down
        rows.append((last + step)[None])
    return np.concatenate(rows)


def hat(identity: Identity) -> Float64[np.ndarray, "R A 3"] | None:
    """Returns the surface of a beanie, cap, hood or headband, in the order of `shell`."""
    around = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    front = np.cos(around)
    t = np.linspace(0.02, 1, _SHELL_ROWS)[:, None]
    match identity.hat:
        case "none":
            return None
        case "beanie":
            start, end, thick = 0, 74 - 16 * front, 1.5 + 0.4 * (t > 0.8) + 0 * around
        case "cap":
            start, end, thick = 0, 72 - 16 * front, 1.4 + 0 * t + 0 * around
        case "hood":
            start, end, thick = 0, 100 - 50 * front**3, 2.4 + 0 * t + 0 * around
        case _:
            start, end, thick = 36 - 0 * front, 48 - 0 * front, 1.2 + 0 * t + 0 * around
    surface = _sphere(
        around, np.radians(start + (end - start) * t), 1.06 * RADIUS + thick[..., None], identity
    )
    if identity.hat == "cap":
        # The brim is one more row, pushed out at the front.
        brim = surface[-1] + np.outer(rig.ramp(0.45, 1.0, front), [0, -0.7, 4.5])
        surface = np.concatenate([surface, brim[None]])
    if identity.hat == "hood":
        fall = surface[-1] + np.outer(rig.ramp(0.6, 0.0, front), [0, -11, 0.5])
        surface = np.concatenate([surface, fall[None]])
    return surface


def ear(side: int, identity: Identity) -> Float64[np.ndarray, "14 3"]:
    """Returns the outline of an ear (side 1: the person's left)."""
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    lobe = np.where(np.sin(angle) < 0, 0.8, 1.0)
    u, v = 0.95 * np.cos(angle) * lobe, 1.9 * np.sin(angle)
    width = identity.shape["width"]
    base = np.array([side * 7.75 * width, 0.9, -2.9])
    outward = np.array([side * 0.75, 0.0, -0.65])
    return base + np.outer(u + 0.5, outward) + np.outer(v, [side * 0.12, 1, -0.1])


def _sphere(
    around: np.ndarray, angle: np.ndarray, radius: np.ndarray, identity: Identity
) -> np.ndarray:
    """Returns points about the skull's middle, at angles from the crown, which leans back."""
    around = np.broadcast_to(around, angle.shape)
    direction = np.stack(
        [np.sin(angle) * np.sin(around), np.cos(angle), np.sin(angle) * np.cos(around)], axis=-1
    )
    shape = identity.shape
    return CENTRE + direction * radius * [shape["width"], shape["height"], 1]
