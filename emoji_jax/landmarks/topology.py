"""Which of MediaPipe's 478 face landmarks mean what, and how the drawn ones are coloured.

Ids 0-467 are the face mesh, 468-472 the iris of the *right* eye (the person's right, left in the
picture) and 473-477 that of the left eye; the first of each five is the pupil. Ids and edges follow
MediaPipe's face mesh (Apache-2.0); the selection and the colours are those of the expression-aware
landmark (arXiv 2406.01900, section 3.1): eyes, brows, the inner lips and the pupils, no contour.
"""

import itertools

import numpy as np

MESH_POINTS = 468
"""Landmarks with a vertex in the face mesh."""

POINTS = 478
"""All landmarks: the mesh and ten iris points."""

RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
PUPILS = (473, 468)
"""The pupils in drawing order."""

# Every eye is two arcs between its corners: the lower lid, then the upper.
_RIGHT_EYE = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (33, 246, 161, 160, 159, 158, 157, 173, 133),
)
_LEFT_EYE = (
    (263, 249, 390, 373, 374, 380, 381, 382, 362),
    (263, 466, 388, 387, 386, 385, 384, 398, 362),
)
_RIGHT_BROW = ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107))
_LEFT_BROW = ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336))

RIGHT_EYELIDS = tuple(sorted({i for arc in _RIGHT_EYE for i in arc}))
"""The 16 points around the right eye; `RIGHT_EYE_CORNERS` are its ends."""
LEFT_EYELIDS = tuple(sorted({i for arc in _LEFT_EYE for i in arc}))
"""The 16 points around the left eye; `LEFT_EYE_CORNERS` are its ends."""

# Both pairs run from left to right in the picture of an upright face.
RIGHT_EYE_CORNERS = (33, 133)
LEFT_EYE_CORNERS = (362, 263)

# Temple, round the chin, temple; the forehead is left out because hair hides it.
# fmt: off
CONTOUR = (
    21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
    377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251,
)
# fmt: on
"""The face oval below the forehead, as one open chain; not drawn unless asked for."""
FACE_RING = CONTOUR[:-1]
"""The polygon of the facial mask: the contour, closed straight from temple to temple."""

# In drawing order: where lines cross, the later one shows. RGB.
DRAWN = (
    *((chain, (180, 200, 10)) for chain in _LEFT_EYE),
    *((chain, (180, 220, 10)) for chain in _LEFT_BROW),
    *((chain, (10, 200, 180)) for chain in _RIGHT_EYE),
    *((chain, (10, 220, 180)) for chain in _RIGHT_BROW),
    ((78, 95, 88, 178, 87, 14), (100, 100, 30)),  # inner lips: lower, the person's right
    ((14, 317, 402, 318, 324, 308), (100, 150, 50)),  # lower left
    ((78, 191, 80, 81, 82, 13), (120, 100, 200)),  # upper right
    ((13, 312, 311, 310, 415, 308), (150, 120, 100)),  # upper left
)
"""Drawn chains of landmarks with their colours; `EDGES` is the same, edge by edge."""

PUPIL_COLOUR = (255, 0, 0)
CONTOUR_COLOUR = (200, 200, 200)


def chain_edges(chain: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns the edges of an open chain of landmark ids."""
    return list(itertools.pairwise(chain))


EDGES = np.array([edge for chain, _ in DRAWN for edge in chain_edges(chain)])
"""[68 2] landmark ids of the drawn edges, in drawing order."""
EDGE_COLOURS = np.array([c for chain, c in DRAWN for _ in chain_edges(chain)], np.uint8)
"""[68 3] their colours, RGB."""
CONTOUR_EDGES = np.array(chain_edges(CONTOUR))
"""[26 2] the edges of `CONTOUR`."""
DRAWN_POINTS = np.unique(np.concatenate([EDGES.ravel(), PUPILS]))
"""Ids of every landmark that leaves a mark: ends of the drawn edges and the pupils."""

BLENDSHAPES = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""The 51 blendshape scores that MediaPipe gives, in its order, without its first, `_neutral`."""
