"""Initial weights: drawn with NumPy, which is 20 times faster than compiling 700 small draws."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array


class Draws:
    """Random numbers for a network's parameters; stands in for `nnx.Rngs`.

    The same seed gives the same numbers on every machine and backend. Without a seed every draw
    is zero, which is enough, and free, where only shapes are wanted.
    """

    def __init__(self, seed: int | None):
        self._generator = None if seed is None else np.random.Generator(np.random.Philox(seed))

    def params(self) -> "Draws":
        """What nnx layers hand to their initialisers in place of a key."""
        return self

    def normal(self, shape: tuple[int, ...], std: float) -> Array:
        """Normal numbers of the given standard deviation, fp32."""
        if self._generator is None:
            return jnp.zeros(shape)
        return jnp.asarray(self._generator.standard_normal(shape, np.float32) * np.float32(std))


def fan_in(draws: Draws, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Kernel initialiser: variance one over the number of inputs."""
    return draws.normal(shape, np.prod(shape[:-1]) ** -0.5).astype(dtype)


def embedding(draws: Draws, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Embedding initialiser: standard deviation 0.02."""
    return draws.normal(shape, 0.02).astype(dtype)


def count(tree: object) -> int:
    """Number of parameters in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
