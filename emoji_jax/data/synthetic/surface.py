"""A painted surface: faces with colours, their shading, which of them are seen, and its outline."""

import numpy as np
from jaxtyping import Bool, Float64, Int

from emoji_jax.data.synthetic.identity import Identity


class Surface:
    """Triangles or quadrangles [T 3|4], anticlockwise seen from outside, each of one colour."""

    def __init__(self, faces: Int[np.ndarray, "T K"], albedo: Float64[np.ndarray, "T 3"]):
        """Prepares sums over the faces at every vertex, and pairs of faces at every edge."""
        self.faces, self.albedo = faces, albedo
        count, sides = faces.shape
        flat = faces.ravel()
        order = np.argsort(flat, kind="stable")
        self._used, self._starts = np.unique(flat[order], return_index=True)
        self._owners = order // sides

        edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
        owner = np.repeat(np.arange(count), sides)
        edges = np.sort(edges, axis=1)
        order = np.lexsort(edges.T)
        edges, owner = edges[order], owner[order]
        first = np.flatnonzero(np.r_[True, (edges[1:] != edges[:-1]).any(axis=1)])
        last = np.r_[first[1:], len(edges)] - 1
        self._edges, self._pairs = edges[first], np.stack([owner[first], owner[last]], axis=1)

    def front(self, seen: Float64[np.ndarray, "V 3"]) -> Bool[np.ndarray, " T"]:
        """Returns which faces are seen from outside, given vertices in pixels."""
        a, b, c = (seen[self.faces[:, i], :2] for i in (0, 1, 2))
        u, v = b - a, c - a
        area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        if self.faces.shape[1] == 4:  # a quadrangle may be folded: take both halves
            w = seen[self.faces[:, 3], :2] - a
            area = area + v[:, 0] * w[:, 1] - v[:, 1] * w[:, 0]
        return area < 0  # y points down

    def normals(self, space: Float64[np.ndarray, "V 3"]) -> Float64[np.ndarray, "T 3"]:
        """Returns a unit normal per face, averaged with its neighbours', before the camera."""
        a, b, c = (space[self.faces[:, i]] for i in (0, 1, -1))
        flat = np.cross(b - a, c - a)
        corners = np.zeros((len(space), 3))
        corners[self._used] = np.add.reduceat(flat[self._owners], self._starts)
        corners /= np.linalg.norm(corners, axis=1, keepdims=True) + 1e-9
        normals = corners[self.faces].mean(axis=1)
        return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)

    def outline(self, front: Bool[np.ndarray, " T"]) -> Int[np.ndarray, "E 2"]:
        """Returns the edges between seen and unseen faces, and the border of seen ones."""
        one, other = front[self._pairs].T
        border = self._pairs[:, 0] == self._pairs[:, 1]
        return self._edges[(one != other) | (border & one)]


def shade(
    normals: Float64[np.ndarray, "T 3"], identity: Identity, *, shine: float
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T 1"]]:
    """Returns by what to multiply colours (a warm shadow's tint), and what light to add.

    Light wraps round the form (half Lambert), as it does on skin; a weak light from behind lifts
    the edges.
    """
    if identity.style == "line":
        return np.ones_like(normals), np.zeros((len(normals), 1))
    contrast = identity.contrast * (0.45 if identity.style == "flat" else 1.0)
    towards = normals @ np.array(identity.light)
    level = (0.5 + 0.5 * towards).clip(0, 1)
    # Painted cartoons have two tones rather than a range of them.
    if identity.style == "flat":
        level = ((level - 0.55) * 5 + 0.5).clip(0, 1)
    lit = (1 - contrast * (1 - level) ** 1.2)[:, None]
    warm = np.array([0.8, 1.0, 1.06]) if identity.style != "stone" else np.ones(3)
    half = np.add(identity.light, (0, 0, 1))  # between the light and the camera
    half /= np.linalg.norm(half)
    gloss = 0.0 if identity.style == "flat" else shine
    glint = (normals @ half).clip(0, 1)[:, None] ** 24
    return lit**warm * (1.04 if contrast else 1.0), 255 * gloss * glint
