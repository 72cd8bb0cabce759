"""Synthetic portraits: a rig on the canonical face mesh, painted in several styles.

`clip(seed, index, frames, size)` gives pictures with exact landmarks to train on, `motion(name,
frames)` one of the 18 exaggerated expressions (arXiv 2406.01900, section 4.1) to drive a portrait
with. NumPy and Pillow only.

An `Identity` says how a person looks, an `Expression` what the face does; `rig.deform` moves the
mesh, `head.turn` the head, `render` paints.
"""

from emoji_jax.data.synthetic.clips import (
    CLIPS_PER_IDENTITY,
    clip,
    identity_of,
    landmarks,
    motion,
    portrait,
    random_movement,
)
from emoji_jax.data.synthetic.expression import CONTROLS, Expression
from emoji_jax.data.synthetic.identity import STYLES, Identity
from emoji_jax.data.synthetic.motions import EXPRESSIONS
from emoji_jax.data.synthetic.render import render

__all__ = [
    "CLIPS_PER_IDENTITY",
    "CONTROLS",
    "EXPRESSIONS",
    "STYLES",
    "Expression",
    "Identity",
    "clip",
    "identity_of",
    "landmarks",
    "motion",
    "portrait",
    "random_movement",
    "render",
]
