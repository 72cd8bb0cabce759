"""Motion alignment: a driver's motion on the face of a portrait (arXiv 2406.01900, section 3.1)."""

from typing import Literal

import numpy as np
from jaxtyping import Float64, Int

from emoji_jax.landmarks import topology
from emoji_jax.landmarks.controls import AS_DRIVEN, Controls
from emoji_jax.landmarks.geometry import HALF_HEIGHT, project, rotation
from emoji_jax.landmarks.template import Landmarks

# Lids, corners and iris of either eye.
_EYES = (
    (topology.RIGHT_EYELIDS, topology.RIGHT_EYE_CORNERS, topology.RIGHT_IRIS),
    (topology.LEFT_EYELIDS, topology.LEFT_EYE_CORNERS, topology.LEFT_IRIS),
)


class Alignment:
    """The driver's expressions and head motion on the reference's face, in its picture.

    `alignment[frames]` computes pixels (x right, y down) [N 478 2] of these frames of the driver,
    and nothing is kept: a long driver takes no memory. They may lie outside the picture.

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
        with its rounded numbers. All that follows is then ignored.
      head_pose: "absolute" turns the head as the driver's is turned in its picture instead.
      neutral: the driver's frame that counts as expressionless; "auto" takes that with the smallest
        sum of blendshape scores. Or any face at rest, one frame.
      controls: how much of each part of the motion.

    Raises:
      ValueError: unless the reference has one frame and the driver one or more; for an unknown
        `compat` or `head_pose`.
      IndexError: if the driver has no frame `neutral`.
    """

    def __init__(
        self,
        reference: Landmarks,
        driver: Landmarks,
        *,
        compat: Literal["release"] | None = None,
        head_pose: Literal["relative", "absolute"] = "relative",
        neutral: Literal["auto"] | int | Landmarks = "auto",
        controls: Controls = AS_DRIVEN,
    ):
        if len(reference) != 1 or not len(driver):
            raise ValueError(
                "expected a reference of one frame and a driver of one or more, "
                f"got {len(reference)} and {len(driver)}"
            )
        if compat not in (None, "release") or head_pose not in ("relative", "absolute"):
            raise ValueError(f"unknown {compat=} or {head_pose=}")
        self._release, self._relative = compat == "release", head_pose == "relative"
        self._reference, self._driver = reference, driver
        self._controls = AS_DRIVEN if self._release else controls
        if self._release or neutral == "auto":
            neutral = driver[_calmest(driver)]
        elif not isinstance(neutral, Landmarks):
            neutral = driver[neutral]
        self._mesh = reference.vertices[0].astype(np.float64)
        self._neutral = neutral.vertices[0].astype(np.float64)
        self._strengths = self._controls.of_vertices(self._mesh)

    def __len__(self) -> int:
        return len(self._driver)

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> Float64[np.ndarray, "N 478 2"]:
        driver, reference = self._driver[frames], self._reference
        rest = driver.vertices.astype(np.float64) - self._neutral
        vertices = rest * self._strengths + self._mesh
        turns, path = self._head(driver)
        camera = vertices @ turns.swapaxes(1, 2) + path[:, None]
        mesh = (_project_release if self._release else project)(camera, reference.size)
        irises = [
            _iris_pixels(mesh, *eye[:2], self._gaze(driver, eye), upright=self._release)
            for eye in _EYES
        ]
        return np.concatenate([mesh, *irises], axis=1)

    def _head(self, driver: Landmarks) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and translation of the reference's head in frames of the driver."""
        first, reference = self._driver.pose[:1], self._reference.pose[0]
        start = reference[:3, 3].astype(np.float64)
        origin = first[0, :3, 3].astype(np.float64)
        turns, path = rotation(driver.pose), driver.pose[:, :3, 3].astype(np.float64)
        if self._release:
            return turns, path - origin + start
        if self._relative:
            turns = self._controls.turn(turns @ rotation(first)[0].T) @ rotation(reference)
        else:
            own = rotation(reference)
            turns = self._controls.turn(turns @ own.T) @ own
        return turns, _follow(path, origin, start, self._controls.translation)

    def _gaze(self, driver: Landmarks, eye: tuple) -> np.ndarray:
        """Places of five iris points in the eye's opening [F 5 2]."""
        place = _iris_place(driver.pixels, *eye, upright=self._release)
        if self._release:
            return place
        if self._controls.gaze != 1:
            own = _iris_place(self._reference.pixels, *eye, upright=False)
            place = own + self._controls.gaze * (place - own)
        return place + np.clip(place[:, :1], -0.5, 0.5) - place[:, :1]


def _calmest(driver: Landmarks) -> int:
    return int(driver.blendshapes.sum(axis=1, dtype=np.float64).argmin())


def align(
    reference: Landmarks, driver: Landmarks, **options: object
) -> Float64[np.ndarray, "F 478 2"]:
    """All frames of an `Alignment` at once; arguments as there."""
    return Alignment(reference, driver, **options)[np.arange(len(driver))]  # type: ignore[arg-type]


def _follow(path: np.ndarray, origin: np.ndarray, start: np.ndarray, strength: float) -> np.ndarray:
    """Repeats a head's path [F 3], which began in `origin`, from `start`, as seen in the picture.

    A face at depth z has a size of 1/z in the picture and lies at x/z: here z keeps its ratio to
    the first frame, and x/z moves by the same multiple of the face's size in the first frame.
    """
    shift = (path[:, :2] / path[:, 2:] - origin[:2] / origin[2]) * origin[2] * strength
    depth = start[2] * (path[:, 2:] / origin[2]) ** strength
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


def _iris_place(
    points: np.ndarray,
    eyelids: tuple[int, ...],
    corners: tuple[int, int],
    iris: tuple[int, ...],
    *,
    upright: bool,
) -> np.ndarray:
    """Where five iris points lie in the box around the eyelids [F 5 2], in its sizes.

    The boxes lie along the eyes' corners, so that a tilted head looks the same way as an upright
    one; `upright` takes boxes along the picture's axes, and nothing but them, as the released code
    does. A closing eye's box has next to no height to measure a place in: both heights are taken to
    be at least a tenth of the widths.
    """
    axes, middle, size = _eye_box(points, eyelids, corners, upright)
    return (points[:, list(iris)] @ axes - middle[:, None]) / size[:, None]


def _iris_pixels(
    points: np.ndarray,
    eyelids: tuple[int, ...],
    corners: tuple[int, int],
    place: np.ndarray,
    *,
    upright: bool,
) -> np.ndarray:
    """Undoes `_iris_place` in another eye."""
    axes, middle, size = _eye_box(points, eyelids, corners, upright)
    return (middle[:, None] + place * size[:, None]) @ axes.swapaxes(1, 2)


def _eye_box(
    points: np.ndarray, eyelids: tuple[int, ...], corners: tuple[int, int], upright: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes [F 2 2], in columns, middle [F 2] and size [F 2] of the box around an eye's lids."""
    axes = _eye_axes(points[:, list(corners)], upright)
    lids = points[:, list(eyelids)] @ axes
    size = np.ptp(lids, axis=1)
    middle = lids.min(axis=1) + size / 2
    if not upright:
        width = np.maximum(size[:, 0], 1e-6)
        size = np.stack([width, np.maximum(size[:, 1], 0.1 * width)], axis=1)
    return axes, middle, size


def _eye_axes(corners: np.ndarray, upright: bool) -> np.ndarray:
    """Returns [F 2 2] with the eye's own axes in its columns, from its two corners [F 2 2]."""
    along = corners[:, 1] - corners[:, 0]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    # A face in full profile may have both corners in one place: then the picture's axes will do.
    usable = (length > 1e-6) & (not upright)
    along = np.where(usable, along / np.maximum(length, 1e-6), [1.0, 0.0])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return np.stack([along, across], axis=2)
