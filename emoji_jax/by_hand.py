"""Landmarks of a portrait set by hand, for faces that the landmarker does not find."""

import json
from pathlib import Path

import numpy as np

from emoji_jax.driver import average_face
from emoji_jax.errors import UserError
from emoji_jax.images import read_image
from emoji_jax.landmarks import topology
from emoji_jax.landmarks.geometry import solve
from emoji_jax.landmarks.template import Landmarks

# What can be pointed at, left and right as they are in the picture.
NAMED = {
    "left_eye": topology.RIGHT_IRIS[0],
    "left_eye_outer": 33,
    "left_eye_inner": 133,
    "right_eye": topology.LEFT_IRIS[0],
    "right_eye_outer": 263,
    "right_eye_inner": 362,
    "left_brow": 105,
    "right_brow": 334,
    "nose": 4,
    "mouth_left": 78,
    "mouth_right": 308,
    "mouth_top": 13,
    "mouth_bottom": 14,
    "chin": 152,
    "forehead": 10,
}
# No file of a few points is longer.
_BYTES = 2**20


def read(path: str | Path, portrait: str | Path) -> Landmarks:
    """Landmarks of a portrait from a file.

    Args:
      path: `.npz` as `Landmarks.save` writes it, its first frame; or `.json`: an object with at
        least three of the names in `NAMED`, each with x and y in pixels of the portrait, e.g.
        `{"left_eye": [210, 180], "right_eye": [300, 182], "mouth_left": [225, 290]}`.
      portrait: the picture they are for.

    Raises:
      UserError: unreadable, for a picture of another shape, or points that no face can have.
    """
    path, size = Path(path), read_image(portrait).shape[:2]
    if path.suffix != ".json":
        found = Landmarks.load(path)[0]
        # Points are in units of the sides: another size will do, another shape will not.
        if abs(found.size[0] * size[1] - found.size[1] * size[0]) > max(*size, *found.size):
            raise UserError(
                f"{path} is for a picture of {found.size[1]}x{found.size[0]} pixels; {portrait} "
                f"has {size[1]}x{size[0]}"
            )
        pose, vertices = solve(found.points, size)
        return Landmarks(found.points, vertices, pose, found.blendshapes, size, found.times)
    return fit(_points(path), size, str(path))


def _points(path: Path) -> dict[str, tuple[float, float]]:
    expected = f"expected an object of [x, y] in pixels, with names among {', '.join(NAMED)}"
    try:
        if path.stat().st_size > _BYTES:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes; {expected}")
        given = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read landmarks from {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {error}; {expected}") from None
    try:
        points = {name: (float(x), float(y)) for name, (x, y) in given.items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise UserError(f"{path} holds no points; {expected}") from None
    unknown = sorted(set(points) - set(NAMED))
    if unknown:
        raise UserError(f"{path} names {unknown[0]!r}; {expected}")
    return points


def fit(
    points: dict[str, tuple[float, float]], size: tuple[int, int], name: str = "the points"
) -> Landmarks:
    """The average face, bent so that it goes through a few points (thin-plate splines).

    Args:
      points: of some of `NAMED`, x and y in pixels, at least three that are not on one line.
      size: height and width of the picture.
      name: of where they come from, for messages.

    Raises:
      UserError: too few points, or on one line.
    """
    from scipy.interpolate import RBFInterpolator

    if len(points) < 3:
        raise UserError(f"{name}: {len(points)} points are given; expected three or more")
    average = average_face().points[0].astype(np.float64)  # its picture is square
    ids = [NAMED[key] for key in points]
    targets = np.array(list(points.values()))
    if not (np.abs(targets / size[::-1] - 0.5) <= 2).all():  # false for what is no number, too
        raise UserError(f"{name}: a point lies far outside of the picture's {size[1]}x{size[0]}")
    source = average[ids, :2]
    for places in (source, targets):
        if np.linalg.svd(places - places.mean(0), compute_uv=False)[1] < 1e-2 * np.ptp(places):
            raise UserError(f"{name}: all points are on one line; expected three that are not")
    # A face that is turned is not mirrored: the affine part of the way there keeps its sense.
    linear = np.linalg.lstsq(source - source.mean(0), targets - targets.mean(0), rcond=None)[0]
    if np.linalg.det(linear) < 0:
        raise UserError(f"{name}: the face is mirrored; left and right are as in the picture")
    bent = RBFInterpolator(source, targets, kernel="thin_plate_spline", degree=1)(average[:, :2])
    # Depth grows with the picture of the face.
    scale = np.ptp(targets, axis=0).max() / np.ptp(source, axis=0).max()
    full = np.concatenate([bent, scale * average[:, 2:]], 1) / [size[1], size[0], size[1]]
    placed = full[None].astype(np.float32)
    pose, vertices = solve(placed, size)
    blendshapes = np.zeros((1, len(topology.BLENDSHAPES)), np.float32)
    return Landmarks(placed, vertices, pose, blendshapes, size, np.zeros(1))
