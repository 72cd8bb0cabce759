"""Face geometry: canonical mesh and head pose from landmarks, and back to pixels.

Two spaces. *Camera space* has its origin in the camera, x right, y up, the face at negative z, in
centimetres. *Canonical space* is the head's own: the same metric mesh with the head pose removed,
so that an expression is a displacement of vertices that does not depend on pose or picture.

The camera is MediaPipe's: 63 degrees of vertical field of view, whatever the lens really was. It
fixes only the trade-off between distance and size, the same way for every face.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64

from emoji_jax.landmarks import topology
from emoji_jax.landmarks.mesh import PROCRUSTES_IDS, PROCRUSTES_POINTS, PROCRUSTES_WEIGHTS

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


def rotation(pose: Float[np.ndarray, "*F 4 4"]) -> Float64[np.ndarray, "*F 3 3"]:
    """The rotation nearest to that of poses, whose own is off by 1e-6 in float32."""
    u, _, vt = np.linalg.svd(pose[..., :3, :3].astype(np.float64))
    return u @ vt


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
