"""What a face does, as numbers, and how far they are from those of another."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64

from emoji_jax.landmarks import Landmarks, topology
from emoji_jax.landmarks.geometry import rotation

_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152
# Upper and lower lid, and the eye's corners, of the right and of the left eye.
_EYES = ((159, 145, *topology.RIGHT_EYE_CORNERS), (386, 374, *topology.LEFT_EYE_CORNERS))
_PUPILS = (topology.RIGHT_IRIS[0], topology.LEFT_IRIS[0])
_EXPRESSION = sorted({i for chain, _ in topology.DRAWN for i in chain})

# Least standard deviation at which a signal counts as moving: half a hundredth of the face's
# height, a hundredth of the eye's width, a degree, two hundredths of the eye's width.
STILL = {
    "mouth_opening": 0.005,
    "eye_closing": 0.01,
    "yaw": 1.0,
    "pitch": 1.0,
    "roll": 1.0,
    "gaze_across": 0.02,
    "gaze_up": 0.02,
}

THRESHOLD = 0.05
"""Of `accuracy`, in distances between the eyes' outer corners: half a lid's opening."""


def signals(landmarks: Landmarks) -> dict[str, Float64[np.ndarray, " F"]]:
    """What the face does in each frame, whatever its size, shape and place in the picture.

    Returns:
      `mouth_opening` in heights of the face; `eye_closing`, minus the lids' distance in widths of
      the eye, both eyes' mean; `yaw`, `pitch` and `roll` of the head in degrees, positive to the
      picture's right, up and anticlockwise; `gaze_across` and `gaze_up`, the pupils' place between
      the eyes' corners in widths of the eye.
    """
    mesh = landmarks.vertices.astype(np.float64)

    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(mesh[:, a] - mesh[:, b], axis=-1)

    lids = [gap(upper, lower) / gap(left, right) for upper, lower, left, right in _EYES]
    yaw, pitch, roll = _angles(landmarks.pose)
    across, up = _gaze(landmarks.pixels)
    return {
        "mouth_opening": gap(_UPPER_LIP, _LOWER_LIP) / gap(_FOREHEAD, _CHIN),
        "eye_closing": -np.mean(lids, axis=0),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "gaze_across": across,
        "gaze_up": up,
    }


def _angles(pose: Float[np.ndarray, "F 4 4"]) -> Float64[np.ndarray, "3 F"]:
    """Yaw, pitch and roll in degrees: of the face's forward axis, and of its upright one."""
    turned = rotation(pose)
    forward, right = turned[:, :, 2], turned[:, :, 0]
    yaw = np.arctan2(forward[:, 0], forward[:, 2])
    pitch = np.arcsin(np.clip(forward[:, 1], -1, 1))
    roll = np.arctan2(right[:, 1], np.hypot(right[:, 0], right[:, 2]))
    return np.degrees([yaw, pitch, roll])


def _gaze(points: Float64[np.ndarray, "F 478 2"]) -> Float64[np.ndarray, "2 F"]:
    """Place of the pupils along and across the lines between the eyes' corners, both eyes' mean."""
    found = []
    for (_, _, left, right), pupil in zip(_EYES, _PUPILS, strict=True):
        along = points[:, right] - points[:, left]
        width = np.linalg.norm(along, axis=-1, keepdims=True)
        along /= np.maximum(width, 1e-6)
        place = (points[:, pupil] - (points[:, left] + points[:, right]) / 2) / width
        found.append(
            [(place * along).sum(-1), place[:, 0] * along[:, 1] - place[:, 1] * along[:, 0]]
        )
    return np.mean(found, axis=0)


def distances(landmarks: Landmarks, truth: Landmarks) -> Float64[np.ndarray, "F _"]:
    """Of each drawn landmark from the true one, in distances between the eyes' outer corners."""
    outer = truth.pixels[:, [topology.RIGHT_EYE_CORNERS[0], topology.LEFT_EYE_CORNERS[1]]]
    unit = np.linalg.norm(outer[:, 0] - outer[:, 1], axis=-1, keepdims=True)
    return np.linalg.norm(landmarks.pixels - truth.pixels, axis=-1)[:, _EXPRESSION] / unit


def error(landmarks: Landmarks, truth: Landmarks) -> Float64[np.ndarray, " F"]:
    """Mean distance of the drawn landmarks from the true ones, in distances between the eyes.

    The latter is that between the outer corners, in the truth.
    """
    return distances(landmarks, truth).mean(1)


def correlation(
    signal: Float[np.ndarray, " F"], driver: Float[np.ndarray, " F"], still: float
) -> float:
    """Pearson's correlation of a signal with the driver's; NaN if the driver's stands still.

    Args:
      signal: of the result.
      driver: of what it imitates.
      still: standard deviation of the driver's under which there is nothing to imitate.
    """
    if len(driver) < 3 or driver.std() < still:
        return float("nan")
    if signal.std() == 0:
        return 0.0
    return float(np.corrcoef(signal, driver)[0, 1])


def accuracy(
    landmarks: Landmarks, truth: Landmarks, threshold: float = THRESHOLD
) -> Float64[np.ndarray, " F"]:
    """Share of the drawn landmarks that are nearer to the true ones than a threshold.

    Args:
      landmarks: of the result.
      truth: of what it should be.
      threshold: in distances between the eyes' outer corners. The paper gives none.
    """
    return (distances(landmarks, truth) < threshold).mean(1)


def expression_error(landmarks: Landmarks, truth: Landmarks) -> Float64[np.ndarray, " F"]:
    """Mean absolute difference of the blendshape scores: 0 to 1."""
    return np.abs(landmarks.blendshapes.astype(np.float64) - truth.blendshapes).mean(1)


def pose_error(landmarks: Landmarks, truth: Landmarks) -> Float64[np.ndarray, " F"]:
    """Angle between the heads' rotations, degrees: 0 to 180."""
    a, b = (rotation(x.pose).astype(np.float64) for x in (landmarks, truth))
    trace = np.einsum("fij,fij->f", a, b)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def gaze_error(landmarks: Landmarks, truth: Landmarks) -> Float64[np.ndarray, " F"]:
    """How far the pupils are from where they should be in the eyes, in widths of the eye."""
    return np.linalg.norm(_gaze(landmarks.pixels) - _gaze(truth.pixels), axis=0)


def jitter(landmarks: Landmarks) -> Float64[np.ndarray, " F"]:
    """How far the drawn landmarks are from the middle between the frames before and after.

    In distances between the eyes' outer corners; 0 where they move evenly, NaN in the first and
    in the last frame.
    """
    middle = dataclasses.replace(
        landmarks[1:-1], points=(landmarks.points[:-2] + landmarks.points[2:]) / 2
    )
    inside = distances(middle, landmarks[1:-1]).mean(1)
    return np.concatenate([[np.nan], inside, [np.nan]])[: len(landmarks)]
