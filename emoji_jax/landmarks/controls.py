"""How much of a driver's motion a portrait takes over, part by part."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64

from emoji_jax.landmarks import topology

_EYES = (*topology.RIGHT_EYELIDS, *topology.LEFT_EYELIDS)
_BROWS = tuple(
    sorted({i for chain, (_, green, _) in topology.DRAWN if green == 220 for i in chain})
)
_MOUTH = tuple(sorted({i for chain, _ in topology.DRAWN for i in chain} - {*_EYES} - {*_BROWS}))


@dataclasses.dataclass(frozen=True)
class Controls:
    """Strengths: 0 nothing, 1 as driven, above 1 exaggerated, below 0 the opposite.

    Attributes:
      expression: of everything that the face's surface does; it multiplies the next three.
      eyes: of the lids.
      brows: of the brows.
      mouth: of lips and jaw.
      gaze: of the pupils; at 0 they keep the portrait's place in the eye's opening.
      rotation: of the head's turning, by angle.
      translation: of its way through the picture, and of its growing and shrinking.
    """

    expression: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    mouth: float = 1.0
    gaze: float = 1.0
    rotation: float = 1.0
    translation: float = 1.0

    def of_vertices(self, mesh: Float[np.ndarray, "468 3"]) -> Float64[np.ndarray, "468 1"]:
        """The strength at every vertex of a face at rest.

        At the drawn landmarks it is exactly their part's; between them it passes over smoothly, by
        the inverse square of the distance (Shepard, 1968), so that no part tears off.
        """
        parts = ((_EYES, self.eyes), (_BROWS, self.brows), (_MOUTH, self.mouth))
        known = np.array([i for ids, _ in parts for i in ids])
        values = np.array([strength for ids, strength in parts for _ in ids])
        offsets = mesh[:, None].astype(np.float64) - mesh[known]
        nearness = 1 / np.maximum(np.square(offsets).sum(-1), 1e-12)
        strengths = (nearness * values).sum(1) / nearness.sum(1)
        strengths[known] = values
        return self.expression * strengths[:, None]

    def turn(self, rotation: Float64[np.ndarray, "F 3 3"]) -> Float64[np.ndarray, "F 3 3"]:
        """Rotations about the same axes by more or less."""
        if self.rotation == 1:
            return rotation
        from scipy.spatial.transform import Rotation

        turns = Rotation.from_matrix(rotation).as_rotvec()
        return Rotation.from_rotvec(self.rotation * turns).as_matrix()


AS_DRIVEN = Controls()
"""Everything as the driver does it."""
