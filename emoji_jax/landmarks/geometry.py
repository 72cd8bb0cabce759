"""Face geometry: canonical mesh and head pose from landmarks, and alignment to another face.

Two spaces. *Camera space* has its origin in the camera, x right, y up, the face at negative z, in
centimetres. *Canonical space* is the head's own: the same metric mesh with the head pose removed,
so that an expression is a displacement of vertices that does not depend on pose or picture. Motion
alignment (arXiv 2406.01900, section 3.1) adds the driver's displacements to the reference's mesh.

The camera is MediaPipe's: 63 degrees of vertical field of view, whatever the lens really was. It
fixes only the trade-off between distance and size, the same way for every face.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

from emoji_jax.landmarks import topology
from emoji_jax.landmarks.mesh import PROCRUSTES_IDS, PROCRUSTES_POINTS, PROCRUSTES_WEIGHTS
from emoji_jax.landmarks.template import Landmarks

HALF_HEIGHT = np.tan(np.radians(63.0 / 2))
"""Half the picture's height at unit distance from the camera."""


def solve(
    points: Float[np.ndarray, "F K 3"], size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "F 4 4"], Float32[np.ndarray, "F 468 3"]]:
    """Recovers head pose and canonical mesh from 2.5-D landmarks (MediaPipe's face geometry).

    Landmarks know depth only up to the face's distance. The distance is that at which the face,
    moved back along its rays, has the size of the canonical face: one orthogonal fit gives a first
    scale, a second one corrects it for perspective, a third gives the pose.

    Args:
      points: normalised image coordinates (x right, y down, both in units of the picture's side,
        z in units of its width), at least the 468 mesh points.
      size: height and width of the picture in pixels (only their ratio matters).

    Returns:
      The pose, from canonical to camera space, and the mesh's vertices in canonical space, in cm.

    Raises:
      ValueError: with fewer than 468 points.
    """
    if points.ndim != 3 or points.shape[1] < topology.MESH_POINTS or points.shape[2] != 3:
        raise ValueError(f"expected points [F, >= 468, 3], got {list(points.shape)}")
    height, width = size
    half_width = HALF_HEIGHT * width / height
    normalised = points[:, : topology.MESH_POINTS].astype(np.float64)
    x = (2 * normalised[..., 0] - 1) * half_width
    y = (1 - 2 * normalised[..., 1]) * HALF_HEIGHT
    z = normalised[..., 2] * 2 * half_width
    depth = z - z.mean(axis=1, keepdims=True) + 1  # the face's middle in the near plane

    def fit(target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _procrustes(target[:, PROCRUSTES_IDS])

    def unproject(scale: np.ndarray) -> np.ndarray:
        distance = depth / scale[:, None]
        return np.stack([x * distance, y * distance, -distance], axis=-1)

    scale, _, _ = fit(np.stack([x, y, -z], axis=-1))
    correction, _, _ = fit(unproject(scale))
    metric = unproject(scale * correction)
    scale, rotation, translation = fit(metric)

    pose = np.zeros((len(points), 4, 4))
    pose[:, :3, :3] = scale[:, None, None] * rotation
    pose[:, :3, 3] = translation
    pose[:, 3, 3] = 1
    # The inverse of a scaled rotation: rows instead of columns, divided by the scale.
    vertices = (metric - translation[:, None]) @ rotation / scale[:, None, None]
    return pose.astype(np.float32), vertices.astype(np.float32)


def project(
    vertices: Float[np.ndarray, "*F K 3"], size: tuple[int, int]
) -> Float64[np.ndarray, "*F K 2"]:
    """Projects points in camera space (cm) to pixels of a picture of `size` (height, width)."""
    height, width = size
    x, y, z = np.moveaxis(np.asarray(vertices, np.float64), -1, 0)
    pixels = height / (2 * HALF_HEIGHT)  # of one centimetre at a distance of one centimetre
    return np.stack([width / 2 - pixels * x / z, height / 2 + pixels * y / z], axis=-1)


def align(
    reference: Landmarks,
    driver: Landmarks,
    *,
    compat: Literal["release"] | None = None,
    head_pose: Literal["relative", "absolute"] = "relative",
    neutral: Literal["auto"] | int = "auto",
) -> Float64[np.ndarray, "F 478 2"]:
    """Puts the driver's expressions and head motion on the reference's face, in its picture.

    Expression: the driver's mesh minus its neutral frame's, added to the reference's mesh, all in
    canonical space, where neither pose nor the shape of the pictures plays a part.

    Head motion: the face moves by the same number of face widths as the driver's since its first
    frame, and grows by the same factor, so that a small face in a large picture moves little. It
    turns as the driver's has turned since its first frame, starting from the reference's own pose.

    Gaze: the iris keeps its place in the eye's opening.

    Args:
      reference: one frame, the portrait's landmarks.
      driver: the frames to imitate; its picture may have another size and shape.
      compat: "release" computes what the released PyTorch code does, to the last digit: the
        driver's own head rotation, translations in cm, irises in upright boxes, and a projection
        with its rounded numbers. `head_pose` and `neutral` are then ignored.
      head_pose: "absolute" turns the head as the driver's is turned in its picture instead.
      neutral: the driver's frame that counts as expressionless; "auto" takes that with the smallest
        sum of blendshape scores.

    Returns:
      Pixels (x right, y down) for every frame of the driver. They may lie outside the picture.

    Raises:
      ValueError: unless the reference has one frame and the driver one or more; for an unknown
        `compat` or `head_pose`.
      IndexError: if the driver has no frame `neutral`.
    """
    if len(reference) != 1 or not len(driver):
        raise ValueError(
            "expected a reference of one frame and a driver of one or more, "
            f"got {len(reference)} and {len(driver)}"
        )
    if compat not in (None, "release") or head_pose not in ("relative", "absolute"):
        raise ValueError(f"unknown {compat=} or {head_pose=}")
    release = compat == "release"

    rest = driver.vertices.astype(np.float64)
    k = int(driver.blendshapes.sum(axis=1, dtype=np.float64).argmin())
    rest = rest - rest[k if release or neutral == "auto" else neutral]
    vertices = rest + reference.vertices[0].astype(np.float64)

    rotation = _rotation(driver.pose)
    start = reference.pose[0].astype(np.float64)
    path = driver.pose[:, :3, 3].astype(np.float64)
    if release:
        translation = path - path[0] + start[:3, 3]
    else:
        translation = _follow(path, start[:3, 3])
        if head_pose == "relative":
            rotation = rotation @ rotation[0].T @ _rotation(reference.pose[0])
    camera = vertices @ rotation.swapaxes(1, 2) + translation[:, None]

    mesh = (_project_release if release else project)(camera, reference.size)
    source = driver.pixels
    irises = [
        _move_iris(source, mesh, eyelids, corners, iris, upright=release)
        for eyelids, corners, iris in (
            (topology.RIGHT_EYELIDS, topology.RIGHT_EYE_CORNERS, topology.RIGHT_IRIS),
            (topology.LEFT_EYELIDS, topology.LEFT_EYE_CORNERS, topology.LEFT_IRIS),
        )
    ]
    return np.concatenate([mesh, *irises], axis=1)


def _procrustes(target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits canonical points to `target` [F 33 3], weighted: scale [F], rotation, translation."""
    weights = PROCRUSTES_WEIGHTS[:, None] / PROCRUSTES_WEIGHTS.sum()
    source_mean = (weights * PROCRUSTES_POINTS).sum(axis=0)
    target_mean = (weights * target).sum(axis=1)
    source = PROCRUSTES_POINTS - source_mean
    covariance = (target - target_mean[:, None]).swapaxes(1, 2) @ (weights * source)
    u, _, vt = np.linalg.svd(covariance)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]  # a rotation, never a reflection
    rotation = u @ vt
    scale = (rotation * covariance).sum(axis=(1, 2)) / (weights * source**2).sum()
    translation = target_mean - scale[:, None] * (rotation @ source_mean)
    return scale, rotation, translation


def _rotation(pose: np.ndarray) -> np.ndarray:
    """Returns the rotation nearest to that of float32 poses [*F 4 4], which is off by 1e-6."""
    u, _, vt = np.linalg.svd(pose[..., :3, :3].astype(np.float64))
    return u @ vt


def _follow(path: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Repeats a head's path [F 3] from another `start`, as seen in the picture.

    A face at depth z has a size of 1/z in the picture and lies at x/z: here z keeps its ratio to
    the first frame, and x/z moves by the same multiple of the face's size in the first frame.
    """
    shift = (path[:, :2] / path[:, 2:] - path[0, :2] / path[0, 2]) * path[0, 2]
    depth = path[:, 2:] * (start[2] / path[0, 2])
    return np.concatenate([(start[:2] + shift) / start[2] * depth, depth], axis=1)


def _project_release(vertices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The released code's camera: numbers rounded to float32, depth 0.01 % too large.

    It applies an OpenGL projection matrix from the wrong side, so that the near/far term stands
    where -1 belongs.
    """
    height, width = size
    near, far = 1.0, 10000.0
    focal = 1 / HALF_HEIGHT
    focal_x, focal_y, minus_one = np.array(
        [focal / (width / height), focal, -far / (far - near)], np.float32
    ).astype(np.float64)
    x, y, z = np.moveaxis(vertices, -1, 0)
    depth = minus_one * z
    u = (focal_x * x / depth + 1) / 2 * width
    v = (-focal_y * y / depth + 1) / 2 * height
    return np.stack([u, v], axis=-1)


def _move_iris(
    source: np.ndarray,
    target: np.ndarray,
    eyelids: tuple[int, ...],
    corners: tuple[int, int],
    iris: tuple[int, ...],
    *,
    upright: bool,
) -> np.ndarray:
    """Moves five iris points [F 5 2] with the box around the eyelids, from one face to another.

    The boxes lie along the eyes' corners, so that a tilted head looks the same way as an upright
    one; `upright` takes boxes along the picture's axes, and nothing but them, as the released code
    does. A closing eye's box has next to no height to measure a place in: both heights are taken to
    be at least a tenth of the widths, and the pupil is held inside the box.
    """
    axes_in = _eye_axes(source[:, list(corners)], upright)
    axes_out = _eye_axes(target[:, list(corners)], upright)
    lids_in, lids_out = source[:, list(eyelids)] @ axes_in, target[:, list(eyelids)] @ axes_out
    points = source[:, list(iris)] @ axes_in

    low_in, low_out = lids_in.min(axis=1), lids_out.min(axis=1)
    size_in, size_out = np.ptp(lids_in, axis=1), np.ptp(lids_out, axis=1)
    middle_in, middle_out = low_in + size_in / 2, low_out + size_out / 2
    if not upright:
        size_in, size_out = _open(size_in), _open(size_out)
    place = (points - middle_in[:, None]) / size_in[:, None]
    if not upright:
        place += np.clip(place[:, :1], -0.5, 0.5) - place[:, :1]
    moved = middle_out[:, None] + place * size_out[:, None]
    return moved @ axes_out.swapaxes(1, 2)


def _eye_axes(corners: np.ndarray, upright: bool) -> np.ndarray:
    """Returns [F 2 2] with the eye's own axes in its columns, from its two corners [F 2 2]."""
    along = corners[:, 1] - corners[:, 0]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # A face in full profile may have both corners in one place: then the picture's axes will do.
    usable = (length > 1e-6) & (not upright)
    along = np.where(usable, along / np.maximum(length, 1e-6), [1.0, 0.0])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return np.stack([along, across], axis=2)


def _open(box: np.ndarray) -> np.ndarray:
    """Widens the sizes [F 2] of closing eyes."""
    width = np.maximum(box[:, 0], 1e-6)
    return np.stack([width, np.maximum(box[:, 1], 0.1 * width)], axis=1)
