"""What a user should know about a motion before it drives a portrait."""

import numpy as np

from emoji_jax.disk import chunks
from emoji_jax.landmarks import Landmarks
from emoji_jax.landmarks.geometry import rotation

# Beyond this yaw, degrees, one half of a face is guessed by the landmarker rather than seen.
PROFILE = 50.0
# A face that is elsewhere by this part of its width one frame later was not moved but cut.
_JUMP = 0.6


def warnings(name: str, landmarks: Landmarks) -> list[str]:
    """What may go wrong with a motion, as far as its landmarks show."""
    notes = []
    forward = rotation(landmarks.pose)[:, :, 2]
    yaw = np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
    profile = np.flatnonzero(np.abs(yaw) > PROFILE)
    if len(profile):
        notes.append(
            f"{name}: the head is turned by more than {PROFILE:.0f} degrees in {len(profile)} "
            f"frames ({ranges(profile)}), where its hidden half can only be guessed"
        )
    seen = [_seen(landmarks[some]) for some in chunks(len(landmarks))]
    nose, width, inside = map(np.concatenate, zip(*seen, strict=True))
    way = np.linalg.norm(np.diff(nose, axis=0), axis=1)
    growth = np.abs(np.diff(np.log(np.maximum(width, 1e-6))))
    cuts = 1 + np.flatnonzero((way > _JUMP * width[:-1]) | (growth > np.log(1.6)))
    if len(cuts):
        times = ", ".join(f"{t - landmarks.times[0]:.2f}" for t in landmarks.times[cuts[:5]])
        notes.append(
            f"{name}: the face jumps at {times} s{' and later' if len(cuts) > 5 else ''}, as at "
            "cuts between scenes; motion.start and motion.end choose one of them"
        )
    outside = np.flatnonzero(inside < 0.8)
    if len(outside):
        notes.append(
            f"{name}: the face leaves the picture in {len(outside)} frames ({ranges(outside)})"
        )
    return notes


def _seen(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nose's place and the face's width in pixels, and the part that is in the picture."""
    points = landmarks.points[..., :2]
    width = np.ptp(points[..., 0].astype(np.float64), axis=1) * landmarks.size[1]
    inside = ((points >= 0) & (points <= 1)).all(-1).mean(1)
    return landmarks.pixels[:, 1], width, inside


def ranges(numbers: np.ndarray) -> str:
    """`3-5, 9` of 3 4 5 9."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)
