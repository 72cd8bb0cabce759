"""Synthetic clips and motions: deterministic per (seed, index), with exact landmarks."""

import numpy as np
from jaxtyping import Float64, UInt8

from emoji_jax.data.synthetic import head, motions, rig
from emoji_jax.data.synthetic.expression import Expression
from emoji_jax.data.synthetic.identity import Identity, neutral, sample
from emoji_jax.data.synthetic.render import render
from emoji_jax.errors import UserError
from emoji_jax.landmarks.geometry import solve
from emoji_jax.landmarks.template import Landmarks

CLIPS_PER_IDENTITY = 8
"""Clips of one person; their numbers follow each other."""
FRAME_RATE = 25.0
"""Frames per second of clips."""

# Streams of random numbers that nothing else uses.
_PEOPLE, _MOTIONS = 0, 1


def identity_of(seed: int, index: int) -> int:
    """Returns the number of the person in a clip: splits go by it, never by the clip."""
    del seed  # people are numbered the same way with every seed
    return index // CLIPS_PER_IDENTITY


def portrait(seed: int, index: int, style: str | None = None) -> Identity:
    """Returns the person in a clip, in one of `identity.STYLES` (random unless given)."""
    return sample(np.random.default_rng([seed, _PEOPLE, identity_of(seed, index)]), style)


def random_movement(seed: int, index: int, frames: int) -> Expression:
    """Returns what the person in a clip does, frame by frame."""
    return motions.random_motion(frames, np.random.default_rng([seed, _MOTIONS, index]))


def clip(
    seed: int, index: int, frames: int, size: int | tuple[int, int], *, style: str | None = None
) -> tuple[UInt8[np.ndarray, "F H W 3"], Landmarks]:
    """Paints a clip of a random person in random motion.

    Args:
      seed: of the whole collection.
      index: of the clip; each is made by itself, in any order, on any machine.
      frames: how many.
      size: of the pictures: one side, or height and width.
      style: one of `identity.STYLES`; the person's own unless given.

    Returns:
      The frames and their landmarks.
    """
    shape = (size, size) if isinstance(size, int) else size
    person = portrait(seed, index, style)
    movement = random_movement(seed, index, frames)
    return render(person, movement, shape), landmarks(movement, shape, person)


def motion(
    name: str,
    frames: int = 48,
    *,
    frame_rate: float = FRAME_RATE,
    size: tuple[int, int] = (512, 512),
    seed: int | None = None,
) -> Landmarks:
    """Returns one of the exaggerated expressions as a driving motion, at rest at both ends.

    Args:
      name: one of `motions.EXPRESSIONS`.
      frames: its length.
      frame_rate: in frames per second.
      size: height and width of the picture that the landmarks are for.
      seed: if given, a variation of the motion by a random person instead of the average face.

    Raises:
      UserError: if there is no expression of that name.
    """
    if name not in motions.EXPRESSIONS:
        known = ", ".join(sorted(motions.EXPRESSIONS))
        raise UserError(f"no expression is called {name!r}; there are {known}")
    t = np.linspace(0, 1, frames)
    expression, person = motions.EXPRESSIONS[name](t), None
    if seed is not None:
        rng = np.random.default_rng(seed)
        expression, person = motions.vary(expression, t, rng), sample(rng)
    return landmarks(expression, size, person, frame_rate=frame_rate)


def landmarks(
    expression: Expression,
    size: tuple[int, int],
    identity: Identity | None = None,
    *,
    frame_rate: float = FRAME_RATE,
) -> Landmarks:
    """Returns what a perfect detector would find in `render`'s pictures.

    Points come from the rig. Pose and canonical vertices are solved from them, as those of real
    pictures are, so that both kinds mean the same.

    Args:
      expression: the controls of F frames.
      size: height and width of the pictures.
      identity: whose face; the average one with open eyes unless given.
      frame_rate: in frames per second.
    """
    if identity is None:
        face, iris, cover = _average(), 0.6, 0.58
    else:
        face, iris, cover = neutral(identity), identity.iris, identity.cover
    rotation, shift = head.turn(expression)
    space = rig.deform(face, expression, iris=iris) @ rotation.swapaxes(1, 2) + shift[:, None]
    seen = head.look(space, cover, size)
    distance = seen[..., 2:]
    # Depth is relative to the face's middle and in units of the picture's width, like x.
    middle = distance[:, :468].mean(axis=1, keepdims=True)
    depth = (distance - middle) / middle * head.focal(cover) * size[0] / size[1]
    points = np.concatenate([seen[..., :2] / [size[1], size[0]], depth], axis=-1).astype(np.float32)
    pose, vertices = solve(points, size)
    times = np.arange(len(points)) / frame_rate
    return Landmarks(points, vertices, pose, expression.blendshapes(), size, times)


def _average() -> Float64[np.ndarray, "468 3"]:
    """Returns the canonical face with eyes as open as people's are."""
    face, _ = rig.mesh()
    face = face.copy()
    for side in (-1, 1):
        weight = rig.bump(face, (side * 3.17, 2.62, 3.7), (1.9, 0.75, 3))
        face[:, 1:2] += 0.45 * weight * (face[:, 1:2] - 2.62)
    return face
