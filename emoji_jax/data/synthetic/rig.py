"""A rig on MediaPipe's canonical face: controls move vertices by smooth, hand-written weights.

Almost everything is linear: every control has a displacement of the whole mesh. Lids are not, since
they must meet whatever the eye's size, and lips are kept from passing through each other.
Lengths are in cm, in canonical space (x to the picture's right, y up, z forward).
"""

import functools
import pathlib

import numpy as np
from jaxtyping import Float, Float64, Int

from emoji_jax.data.synthetic.expression import CONTROLS, HEAD, Expression

_FILE = pathlib.Path(__file__).with_name("face.npz")

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Inner rings of the lips, from the person's right corner to the left."""
UPPER_LIP_EDGE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_LIP_EDGE = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
"""Outer rings."""
# Rings from the inner to the outer.
_UPPER = (
    UPPER_LIP,
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    UPPER_LIP_EDGE,
)
_LOWER = (
    LOWER_LIP,
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    LOWER_LIP_EDGE,
)
# The person's right eye: the lids' edges, and the rings of skin around them.
_UPPER_LID = (246, 161, 160, 159, 158, 157, 173)
_LOWER_LID = (7, 163, 144, 145, 153, 154, 155)
_CREASE = (247, 30, 29, 27, 28, 56, 190)
_ABOVE = (113, 225, 224, 223, 222, 221, 189)
_BELOW = (25, 110, 24, 23, 22, 26, 112)
_CORNERS = (33, 133)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The border of the mesh, clockwise in the picture from the top of the forehead."""

EYEBALL = 1.3
"""Radius of the eyeball, which the irises move on."""
_JAW = np.radians(32.0)  # wide open
_GAZE = np.radians((34.0, 31.0))  # of the eyeball at a gaze of 1


@functools.cache
def mesh() -> tuple[Float64[np.ndarray, "468 3"], Int[np.ndarray, "898 3"]]:
    """Returns the canonical face (MediaPipe, Apache-2.0) with closed lips, and its triangles."""
    with np.load(_FILE) as file:
        vertices, triangles = file["vertices"].astype(np.float64), file["triangles"].astype(int)
    for upper, lower, share in zip(_UPPER, _LOWER, (1.0, 0.8, 0.45, 0.12), strict=True):
        gap = vertices[list(UPPER_LIP)] - vertices[list(LOWER_LIP)]
        inner = slice(1, -1)
        close = share * 0.47 * gap[inner, 1]
        vertices[list(upper[inner]), 1] -= close
        vertices[list(lower[inner]), 1] += close
    return vertices, triangles


@functools.cache
def mirror() -> Int[np.ndarray, " 468"]:
    """Returns the vertex on the other side of the face for every vertex."""
    vertices, _ = mesh()
    return np.linalg.norm(vertices[:, None] * [-1, 1, 1] - vertices, axis=-1).argmin(axis=1)


def bump(
    points: Float[np.ndarray, "K 3"],
    centre: tuple[float | int, ...],
    radius: tuple[float | int, ...],
) -> Float64[np.ndarray, "K 1"]:
    """Returns a Gaussian weight, 1 at `centre` and 1/e at the radius."""
    return np.exp(-(((points - centre) / radius) ** 2).sum(axis=1, keepdims=True))


def ramp(start: float | int, end: float | int, x: np.ndarray) -> np.ndarray:
    """Returns a smooth step from 0 at `start` to 1 at `end`, which may be less than `start`."""
    t = ((x - start) / (end - start)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _lips(rings: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Returns 1 at the middle of a lip, falling to 0 at its corners, 0 elsewhere [468 1]."""
    weight = np.zeros((468, 1))
    along = np.sin(np.linspace(0, np.pi, 11)) ** 0.6
    for ring in rings:
        weight[list(ring), 0] = along
    return weight


@functools.cache
def _basis() -> np.ndarray:
    """Returns the displacement of every vertex by every control but lids and gaze [C 468 3]."""
    v, _ = mesh()
    x, y, _ = v.T[..., None]
    basis = {name: np.zeros((468, 3)) for name in CONTROLS}
    upper, lower = _lips(_UPPER), _lips(_LOWER)
    eye = np.zeros((468, 1))
    for ring, weight in ((_UPPER_LID, 1), (_LOWER_LID, 1), (_CREASE, 0.8), (_CORNERS, 1)):
        eye[[*ring, *mirror()[list(ring)]]] = weight

    # The jaw turns about the joints before the ears. The skin beside the mouth follows by half.
    middle = np.exp(-((x / 2.6) ** 2))
    weight = ramp(0, 1, (-y - 1.8 - 2.3 * middle) / (5.2 - 4.1 * middle))
    for rings, inner in ((_UPPER, 0.0), (_LOWER, 1.0)):
        for ring in rings:
            weight[list(ring), 0] = inner
    for corner in (rings[i][e] for rings in (_UPPER, _LOWER) for i in range(4) for e in (0, -1)):
        weight[corner] = 0.42
    for rings, inner in ((_UPPER, 0.12), (_LOWER, 0.8)):
        for ring in rings:
            weight[[ring[1], ring[-2]]] = inner
    weight[[i for ring in _UPPER for i in (ring[2], ring[-3])]] = 0.03
    basis["jaw_open"] = weight * jaw(v, 1.0, 0.0) - [0.09, 0, 0] * x * bump(
        v, (0, -4.8, 5), (3, 2.2, 4)
    )
    basis["jaw_side"] = weight * jaw(v, 0.0, 1.0)

    mouth = bump(v, (0, -4.4, 5), (3.0, 2.1, 4))
    line = -4.27
    basis["pucker"] = mouth * np.concatenate([-0.62 * x, 0.18 * (y - line), 0.9 + 0 * x], axis=1)
    basis["funnel"] = mouth * np.concatenate([-0.45 * x, 0 * x, 0.8 + 0 * x], axis=1)
    basis["funnel"] += upper * [0, 0.5, 0.3] - lower * [0, 0.75, -0.3]
    basis["mouth_side"] = bump(v, (0, -4.4, 5), (3.6, 2.6, 4)) * [1.5, 0, 0]
    basis["press"] = mouth * np.concatenate([0.08 * x, -0.6 * (y - line), -0.25 + 0 * x], axis=1)
    basis["lower_down"] = (lower + 0.6 * bump(v, (0, -6, 5), (2.2, 0.8, 3))) * [0, -0.85, 0]
    basis["lower_out"] = bump(v, (0, -5.3, 5.5), (2.2, 1.3, 3)) * [0, 0.45, 0.55]
    basis["lower_out"] += mouth * [0, 0.2, 0] + bump(v, (0, -7.5, 5), (2.5, 1.2, 3)) * [0, 0.3, 0.2]
    puff = bump(v, (4.4, -3.9, 3.2), (2.0, 2.1, 3)) * [0.9, 0, 0.7]
    basis["cheek_puff"] = puff + _flip(puff) + mouth * [0, 0, 0.3] - mouth * [0.12, 0, 0] * x
    inner_brow = bump(v, (1.7, 5.0, 4.6), (1.5, 1.5, 3)) * (1 - eye) * [-0.08, 0.95, 0]
    basis["brow_inner_up"] = inner_brow + _flip(inner_brow)

    corner = bump(v, (2.46, -4.34, 4.3), (1.5, 1.6, 3))
    left = {
        "smile": corner * [0.85, 0.85, -0.5]
        + bump(v, (4.2, -1.2, 4), (1.7, 1.7, 3)) * [0.1, 0.5, 0.3],
        "frown": corner * [0.3, -1.15, -0.2]
        + bump(v, (0.8, -5, 5), (1.2, 1.2, 3)) * [0, 0.16, 0.1],
        "stretch": corner * [0.9, -0.3, -0.55],
        "upper_up": upper * ramp(-1.2, 1.0, x) * [0, 0.55, 0.05]
        + bump(v, (1.4, -2.7, 5), (1.2, 0.8, 3)) * [0, 0.3, 0],
        "sneer": bump(v, (1.5, -1.0, 5), (1.1, 1.2, 3)) * [0.05, 0.5, 0.05]
        + bump(v, (1.0, 1.8, 5), (1.0, 1.6, 3)) * (1 - eye) * [0, 0.12, 0.12],
        "squint": bump(v, (3.6, 0.6, 4), (1.9, 1.1, 3)) * (1 - eye) * [0, 0.35, 0.15],
        "brow_down": (
            bump(v, (2.9, 4.8, 4.5), (2.6, 1.3, 3)) * [-0.1, -0.85, 0.15]
            + bump(v, (1.4, 4.6, 4.8), (1.1, 1.3, 3)) * [-0.25, -0.4, 0.15]
        )
        * (1 - eye),
        "brow_up": bump(v, (4.4, 5.1, 4), (2.3, 1.5, 4)) * (1 - eye) * [0, 1.05, 0],
    }
    for name, displacement in left.items():
        basis[f"{name}_left"] = displacement
        basis[f"{name}_right"] = _flip(displacement)
    return np.stack([basis[name] for name in CONTROLS])


def jaw(
    points: Float64[np.ndarray, "K 3"], opened: float, side: float
) -> Float64[np.ndarray, "K 3"]:
    """Returns how points fixed to the jaw move when it is `opened` or moved to the `side`."""
    cos, sin = np.cos(_JAW), np.sin(_JAW)
    dy, dz = points[:, 1] - 0.3, points[:, 2] + 1.0
    turned = np.stack([0 * dy, cos * dy - sin * dz - dy, cos * dz + sin * dy - dz], axis=1)
    return opened * turned + [0.9 * side, 0, 0]


def _flip(displacement: np.ndarray) -> np.ndarray:
    """Returns a displacement [468 3] for the other side of the face."""
    return displacement[mirror()] * [-1, 1, 1]


def deform(
    neutral: Float64[np.ndarray, "468 3"], expression: Expression, *, iris: float = 0.6
) -> Float64[np.ndarray, "F 478 3"]:
    """Moves a face at rest by an expression, without turning the head.

    Args:
      neutral: the face at rest, in the canonical mesh's order.
      expression: the controls of F frames.
      iris: radius of the irises.

    Returns:
      The mesh's vertices and the ten points of the irises, in cm.
    """
    array = expression.array()
    control = dict(zip(CONTROLS, array.T, strict=True))
    linear = [i for i, name in enumerate(CONTROLS) if name not in HEAD and name != "tongue"]
    moved = np.tensordot(array[:, linear], _basis()[linear], axes=1) + neutral
    irises = []
    for side, ids in (("right", np.arange(468)), ("left", mirror())):
        up, low = ids[list(_UPPER_LID)], ids[list(_LOWER_LID)]
        opening = neutral[up] - neutral[low]
        # The upper lid follows the gaze, as ours do.
        gaze = control["gaze_y"]
        shut = control[f"blink_{side}"] - 0.6 * control[f"wide_{side}"]
        shut = np.maximum(shut, shut + (1 - shut) * np.where(gaze < 0, -0.3, -0.12) * gaze)
        shut = shut.clip(-0.7, 1)[:, None, None]
        lift = 0.12 * shut.clip(0) + 0.3 * control[f"squint_{side}"][:, None, None] * (1 - shut)
        lift = lift.clip(0, 0.5)
        moved[:, low] += lift * opening
        moved[:, up] -= (shut * (1 - lift) + 0.1 * (1 - shut.clip(0)) * lift) * opening
        # Shut lids meet exactly, whatever else moves them.
        moved[:, up] = np.where(shut > 0.985, moved[:, low], moved[:, up])
        for ring, share in ((_CREASE, 0.55), (_ABOVE, 0.15)):
            moved[:, ids[list(ring)]] -= share * shut * opening
        moved[:, ids[list(_BELOW)]] += 0.5 * lift * opening
        irises.append(_iris(neutral[ids], control, iris))

    # Lips touch but never pass each other.
    upper, lower = list(UPPER_LIP[1:-1]), list(LOWER_LIP[1:-1])
    overlap = np.maximum(moved[:, lower, 1] - moved[:, upper, 1], 0) / 2
    moved[:, upper, 1] += overlap
    moved[:, lower, 1] -= overlap
    return np.concatenate([moved, *irises], axis=1)


def _iris(eye: np.ndarray, control: dict[str, np.ndarray], radius: float) -> np.ndarray:
    """Returns an iris's centre and four points of its border [F 5 3], as MediaPipe orders them.

    The eye's vertices come in the order of the person's right eye.
    """
    corners = eye[list(_CORNERS)].mean(axis=0)
    lids = (eye[159] + eye[145]) / 2
    centre = np.array([corners[0], (corners[1] + lids[1]) / 2, lids[2] - EYEBALL])
    x, y = _GAZE[0] * control["gaze_x"], _GAZE[1] * control["gaze_y"]
    forward = np.stack([np.sin(x) * np.cos(y), np.sin(y), np.cos(x) * np.cos(y)], axis=-1)
    right = np.stack([np.cos(x), np.zeros_like(x), -np.sin(x)], axis=-1)
    up = np.cross(forward, right)
    border = np.stack([right, up, -right, -up], axis=1) * radius
    pupil = (centre + EYEBALL * forward)[:, None]
    return np.concatenate([pupil, pupil + border - 0.1 * radius * forward[:, None]], axis=1)
