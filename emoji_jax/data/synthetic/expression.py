"""`Expression`: what the rig's face does, in terms close to MediaPipe's blendshapes."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Float64

from emoji_jax.landmarks import topology

Control = float | Float64[np.ndarray, " F"]
"""One value for all frames, or one per frame."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Expression:
    """Controls of a face, 0 at rest and 1 fully on; left and right are the person's own.

    Signed ones (from -1 to 1) say which way is positive. The head's pose comes last.
    """

    jaw_open: Control = 0.0
    jaw_side: Control = 0.0
    """To the person's left."""
    smile_left: Control = 0.0
    smile_right: Control = 0.0
    frown_left: Control = 0.0
    frown_right: Control = 0.0
    stretch_left: Control = 0.0
    stretch_right: Control = 0.0
    pucker: Control = 0.0
    funnel: Control = 0.0
    mouth_side: Control = 0.0
    """To the person's left."""
    press: Control = 0.0
    upper_up_left: Control = 0.0
    upper_up_right: Control = 0.0
    lower_down: Control = 0.0
    lower_out: Control = 0.0
    """The lower lip pushed up and forward, as in a pout."""
    tongue: Control = 0.0
    """How far the tongue is put out; it shows only in an open mouth and moves no landmark."""
    blink_left: Control = 0.0
    blink_right: Control = 0.0
    wide_left: Control = 0.0
    wide_right: Control = 0.0
    squint_left: Control = 0.0
    squint_right: Control = 0.0
    brow_down_left: Control = 0.0
    brow_down_right: Control = 0.0
    brow_inner_up: Control = 0.0
    brow_up_left: Control = 0.0
    brow_up_right: Control = 0.0
    cheek_puff: Control = 0.0
    sneer_left: Control = 0.0
    sneer_right: Control = 0.0
    gaze_x: Control = 0.0
    """To the person's left, which is right in the picture."""
    gaze_y: Control = 0.0
    """Up."""
    yaw: Control = 0.0
    """Degrees; positive turns the nose to the picture's right."""
    pitch: Control = 0.0
    """Degrees; positive raises the nose."""
    roll: Control = 0.0
    """Degrees; positive turns the face anticlockwise in the picture."""
    shift_x: Control = 0.0
    """How far the head is moved to the picture's right, in cm."""
    shift_y: Control = 0.0
    """How far the head is raised, in cm."""
    zoom: Control = 0.0
    """Natural logarithm of the face's size relative to its usual size."""

    def array(self, frames: int | None = None) -> Float64[np.ndarray, "F C"]:
        """Returns one row per frame, one column per name in `CONTROLS`, kept within range.

        Raises:
          ValueError: if the controls have different numbers of frames, or not `frames`.
        """
        columns = np.broadcast_arrays(*(np.atleast_1d(getattr(self, name)) for name in CONTROLS))
        array = np.stack(columns, axis=1).astype(np.float64)
        if frames is not None:
            array = np.broadcast_to(array, (frames, len(CONTROLS)))
        return array.clip(*_RANGE)

    @classmethod
    def of(cls, array: Float[np.ndarray, "F C"]) -> "Expression":
        """Is the inverse of `array`; columns may be sums of several expressions'."""
        return cls(**dict(zip(CONTROLS, array.astype(np.float64).T, strict=True)))

    def blendshapes(self, frames: int | None = None) -> Float32[np.ndarray, "F 51"]:
        """Returns MediaPipe-like scores in [0, 1], as far as controls correspond to them."""
        array = self.array(frames)
        scores = np.zeros((len(array), len(topology.BLENDSHAPES)))
        for control, factor, names in _SCORES:
            values = (factor * array[:, CONTROLS.index(control)]).clip(0, 1)
            for name in names:
                column = scores[:, topology.BLENDSHAPES.index(name)]
                np.maximum(column, values, out=column)
        return scores.astype(np.float32)


CONTROLS = tuple(field.name for field in dataclasses.fields(Expression))
"""Names of the controls, in the order of the columns of `Expression.array`."""
HEAD = ("yaw", "pitch", "roll", "shift_x", "shift_y", "zoom")
"""Those of them that move the whole head."""

_SIGNED = ("jaw_side", "mouth_side", "gaze_x", "gaze_y")
_LIMIT = {"yaw": 40.0, "pitch": 30.0, "roll": 35.0, "shift_x": 4.0, "shift_y": 4.0, "zoom": 0.3}
_RANGE = (
    np.array([-_LIMIT.get(name, float(name in _SIGNED)) for name in CONTROLS]),
    np.array([_LIMIT.get(name, 1.0) for name in CONTROLS]),
)


def _both(control: str, score: str, factor: float = 1.0) -> list[tuple[str, float, list[str]]]:
    return [
        (f"{control}_{side}", factor, [f"{score}{side.capitalize()}"]) for side in ("left", "right")
    ]


# Control, factor, scores that it drives.
_SCORES = (
    ("jaw_open", 1.0, ["jawOpen"]),
    ("jaw_side", 1.0, ["jawLeft"]),
    ("jaw_side", -1.0, ["jawRight"]),
    *_both("smile", "mouthSmile"),
    *_both("frown", "mouthFrown"),
    *_both("stretch", "mouthStretch"),
    ("pucker", 1.0, ["mouthPucker"]),
    ("funnel", 1.0, ["mouthFunnel"]),
    ("mouth_side", 1.0, ["mouthLeft"]),
    ("mouth_side", -1.0, ["mouthRight"]),
    ("press", 1.0, ["mouthPressLeft", "mouthPressRight"]),
    *_both("upper_up", "mouthUpperUp"),
    ("lower_down", 1.0, ["mouthLowerDownLeft", "mouthLowerDownRight"]),
    ("lower_out", 1.0, ["mouthShrugLower"]),
    *_both("blink", "eyeBlink"),
    *_both("wide", "eyeWide"),
    *_both("squint", "eyeSquint"),
    *_both("squint", "cheekSquint"),
    *_both("brow_down", "browDown"),
    ("brow_inner_up", 1.0, ["browInnerUp"]),
    *_both("brow_up", "browOuterUp"),
    ("cheek_puff", 1.0, ["cheekPuff"]),
    *_both("sneer", "noseSneer"),
    ("gaze_x", 1.0, ["eyeLookOutLeft", "eyeLookInRight"]),
    ("gaze_x", -1.0, ["eyeLookInLeft", "eyeLookOutRight"]),
    ("gaze_y", 1.0, ["eyeLookUpLeft", "eyeLookUpRight"]),
    ("gaze_y", -1.0, ["eyeLookDownLeft", "eyeLookDownRight"]),
)
