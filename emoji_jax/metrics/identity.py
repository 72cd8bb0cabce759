"""Whether two faces are one person's, by a network that tells people apart."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from emoji_jax import assets
from emoji_jax.landmarks import Landmarks, topology
from emoji_jax.metrics import onnx_graph

WEIGHTS = "face_recognition_sface_2021dec_int8bq.onnx"
SIZE = 112
# Where the eyes, the tip of the nose and the mouth's corners lie in the pictures that such
# networks are trained on (arXiv 1801.07698), pixels.
PLACES = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
_NOSE, _MOUTH = 1, (61, 291)
_BATCH = 8


def heading(weights: Path | None = None) -> str:
    """What stands in a table's heading: which network says it."""
    return f"identity ({weights.stem if weights else 'SFace'})"


class Identity:
    """Cosine of the angle between two faces as a network sees them: 1 the same, 0 strangers.

    Args:
      weights: an ONNX file with a network that takes pictures of 112 x 112 pixels, such as
        ArcFace's of InsightFace, whose licence does not allow to come with this; else SFace
        (arXiv 2205.12010).

    Raises:
      UserError: the weights can't be had or read.
    """

    def __init__(self, weights: Path | None = None):
        function, found = onnx_graph.read(weights or assets.fetch(WEIGHTS))
        self._weights = jax.tree.map(jnp.asarray, found)
        self._function = jax.jit(function)
        # SFace takes levels and makes them fit itself; ArcFace takes -1 to 1.
        self._scale, self._shift = (1 / 127.5, -1.0) if weights else (1.0, 0.0)

    def __call__(
        self, frames: UInt8[np.ndarray, "F H W 3"], faces: Landmarks
    ) -> Float[np.ndarray, "F D"]:
        """Of each frame, with a face in each, a vector of length one."""
        cuts = np.stack([_cut(*item) for item in zip(frames, _points(faces), strict=True)])
        found = []
        for i in range(0, len(cuts), _BATCH):
            part = cuts[i : i + _BATCH].astype(np.float32) * self._scale + self._shift
            # One shape, so that it is compiled once.
            part = np.pad(part, ((0, _BATCH - len(part)), *((0, 0),) * 3))
            seen = self._function(self._weights, jnp.asarray(part.transpose(0, 3, 1, 2)))
            found.append(np.asarray(seen)[: len(cuts) - i])
        vectors = np.concatenate(found)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _points(faces: Landmarks) -> Float64[np.ndarray, "F 5 2"]:
    pixels = faces.pixels.astype(np.float64)
    eyes = [
        pixels[:, list(corners)].mean(1)
        for corners in (topology.RIGHT_EYE_CORNERS, topology.LEFT_EYE_CORNERS)
    ]
    return np.stack([*eyes, pixels[:, _NOSE], *(pixels[:, i] for i in _MOUTH)], 1)


def _cut(
    frame: UInt8[np.ndarray, "H W 3"], points: Float64[np.ndarray, "5 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """The face, turned and scaled so that its points come nearest to where they should be."""
    # As complex numbers a similarity is one factor and one shift; least squares has a formula.
    have, want = ((p[:, 0] + 1j * p[:, 1]) for p in (points, PLACES))
    a, b = want - want.mean(), have - have.mean()
    factor = np.vdot(a, b) / np.vdot(a, a).real  # from the cut to the frame
    # Where pixels are drawn together, their mean, not one of them.
    shrink = max(int(abs(factor)), 1)
    image = Image.fromarray(frame)
    image = image.reduce(shrink) if shrink > 1 else image
    factor, start = factor / shrink, (have.mean() - factor * want.mean()) / shrink
    matrix = (factor.real, -factor.imag, start.real, factor.imag, factor.real, start.imag)
    found = image.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(found)
