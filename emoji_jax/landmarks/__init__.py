"""Expression-aware landmarks (arXiv 2406.01900, section 3.1): detect, align, draw, mask.

A driving video becomes `Landmarks` (`detect`, or a file), is brought to the portrait's face in
canonical space (`alignment`) and drawn (`render.draw`); the masks of the facial fine-grained
loss come from the same points (`masks`). NumPy only: data workers import this without jax.
"""

from emoji_jax.landmarks.alignment import Alignment, align
from emoji_jax.landmarks.controls import Controls
from emoji_jax.landmarks.detect import Detector
from emoji_jax.landmarks.geometry import project, solve
from emoji_jax.landmarks.masks import expression_mask, face_mask
from emoji_jax.landmarks.mesh import CanonicalMesh, canonical_mesh
from emoji_jax.landmarks.render import PUPIL_RADIUS, draw, draw_aligned
from emoji_jax.landmarks.template import Landmarks
from emoji_jax.landmarks.warp import warp

__all__ = [
    "PUPIL_RADIUS",
    "Alignment",
    "CanonicalMesh",
    "Controls",
    "Detector",
    "Landmarks",
    "align",
    "canonical_mesh",
    "draw",
    "draw_aligned",
    "expression_mask",
    "face_mask",
    "project",
    "solve",
    "warp",
]
