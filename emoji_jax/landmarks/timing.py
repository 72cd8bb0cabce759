"""When a motion does what: cutting, resampling and smoothing it in time."""

import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float64

from emoji_jax.disk import Rows, chunks
from emoji_jax.landmarks import topology
from emoji_jax.landmarks.geometry import solve
from emoji_jax.landmarks.template import ARRAYS, Landmarks

# A landmark that moves by one width of the face per second is followed up to so many Hz more.
_BETA = 5.0
# Of the speed's own estimate, Hz (Casiez et al.).
_SPEED_CUTOFF = 1.0


def gather(parts: Iterable[Landmarks]) -> Landmarks:
    """Puts motions one after another, on disk.

    Raises:
      ValueError: there are none, or their pictures differ in size.
    """
    rows = {name: Rows(shape, dtype) for name, shape, dtype in ARRAYS}
    sizes = set()
    for part in parts:
        sizes.add(part.size)
        for name, row in rows.items():
            row.append(getattr(part, name))
    if len(sizes) != 1:
        raise ValueError(f"expected pictures of one size, got {sorted(sizes)}")
    return Landmarks(size=sizes.pop(), **{name: row.array() for name, row in rows.items()})


def interval(landmarks: Landmarks, otherwise: float) -> float:
    """Seconds from one frame to the next, on average; `otherwise` if there is but one."""
    length = len(landmarks)
    span = float(landmarks.times[-1] - landmarks.times[0])
    return span / (length - 1) if length > 1 and span > 0 else otherwise


def trim(landmarks: Landmarks, start: float, end: float | None) -> Landmarks:
    """The frames from `start` up to `end`, in seconds after the first one; their times stay."""
    since = landmarks.times - landmarks.times[0]
    # A frame at 0.9999999 s is meant by 1 s.
    first, stop = np.searchsorted(since, [start - 1e-6, np.inf if end is None else end - 1e-6])
    return landmarks[int(first) : int(stop)]


def resample(landmarks: Landmarks, times: Float[np.ndarray, " N"]) -> Landmarks:
    """The motion at other times, in seconds on its own clock; its ends are held.

    Points, meshes and positions go straight from one frame to the next, the head turns about one
    axis. At the time of a frame, the result is that frame.
    """
    return gather(_between(landmarks, np.asarray(times)[part]) for part in chunks(len(times)))


def _between(landmarks: Landmarks, times: np.ndarray) -> Landmarks:
    from scipy.spatial.transform import Rotation

    known = landmarks.times
    after = np.searchsorted(known, times).clip(max=len(known) - 1)
    before = np.maximum(after - 1, 0)
    span = known[after] - known[before]
    share = np.where(span > 0, (times - known[before]) / np.where(span > 0, span, 1), 1).clip(0, 1)
    first, last = landmarks[before], landmarks[after]

    def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s = share.reshape(-1, *[1] * (a.ndim - 1))
        return a * (1 - s) + b * s

    mixed = {name: mix(getattr(first, name), getattr(last, name)) for name, _, _ in ARRAYS}
    # Between two rotations lies a third; the pose's scale is the length of its columns.
    scales = [np.cbrt(np.linalg.det(p.pose[:, :3, :3].astype(np.float64))) for p in (first, last)]
    start, stop = (
        Rotation.from_matrix(p.pose[:, :3, :3] / scale[:, None, None])
        for p, scale in zip((first, last), scales, strict=True)
    )
    way = (stop * start.inv()).as_rotvec() * share[:, None]
    turned = (Rotation.from_rotvec(way) * start).as_matrix()
    mixed["pose"][:, :3, :3] = mix(*scales)[:, None, None] * turned
    exact = share == 1
    mixed["pose"][exact] = last.pose[exact]
    arrays = {name: mixed[name].astype(dtype) for name, _, dtype in ARRAYS}
    return Landmarks(size=landmarks.size, **arrays | {"times": np.asarray(times, np.float64)})


def smooth(landmarks: Landmarks, cutoff: float) -> Landmarks:
    """Takes jitter away with a one-euro filter (Casiez et al., CHI 2012), run both ways.

    What moves fast is smoothed less. The mean of the filter run forward and backward does not lag
    behind, so that lips stay with the sound.

    Args:
      landmarks: the motion.
      cutoff: frequency above which a landmark at rest is smoothed, Hz: the lower, the smoother.
    """
    cutoff = min(cutoff, 1e9)  # far above what changes anything, far below what overflows
    there = _one_euro(landmarks, np.arange(len(landmarks)), cutoff)
    back = _one_euro(landmarks, np.arange(len(landmarks))[::-1], cutoff)

    def parts() -> Iterable[Landmarks]:
        for frames in chunks(len(landmarks)):
            mean = (there[frames] + back[len(landmarks) - 1 - frames]) / 2
            pose, vertices = solve(mean, landmarks.size)
            rest = landmarks[frames]
            yield Landmarks(mean, vertices, pose, rest.blendshapes, landmarks.size, rest.times)

    return gather(parts())


def _one_euro(landmarks: Landmarks, order: np.ndarray, cutoff: float) -> np.ndarray:
    """Points of the frames in this order, filtered; on disk."""
    rows = Rows((topology.POINTS, 3), np.float32)
    height, width = landmarks.size
    pixels = np.array([width, height, width], np.float64)
    first = landmarks[int(order[0])].points[0].astype(np.float64) * pixels
    face = max(float(np.ptp(first[:, 0])), 1e-6)
    smoothed, raw, speed = first, first, np.zeros_like(first)
    rows.append((first / pixels)[None])
    for previous, frame in itertools.pairwise(order):
        seconds = max(abs(float(landmarks.times[frame] - landmarks.times[previous])), 1e-6)
        point = landmarks.points[frame].astype(np.float64) * pixels
        speed += _share(_SPEED_CUTOFF, seconds) * ((point - raw) / seconds - speed)
        # By the landmark's speed in the picture, so that its coordinates stay together.
        fast = np.linalg.norm(speed[:, :2], axis=1, keepdims=True) / face
        smoothed = smoothed + _share(cutoff + _BETA * fast, seconds) * (point - smoothed)
        raw = point
        rows.append((smoothed / pixels)[None])
    return rows.array()


def _share(cutoff: Float64[np.ndarray, "K 1"] | float, seconds: float) -> np.ndarray | float:
    """Weight of a new value in an exponential average with this cut-off frequency."""
    rate = 2 * np.pi * cutoff * seconds
    return rate / (rate + 1)
