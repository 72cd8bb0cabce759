"""What a device can do: the speed of a large matrix product, measured."""

import time

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class Product:
    """A product of two large matrices of random numbers, on one device.

    Of random ones: a chip is faster with numbers that need less power.
    """

    def __init__(self, dtype: DTypeLike):
        # One after another: a single one would be over before it is noticed.
        self._size, self._times = (2048, 1) if jax.default_backend() == "cpu" else (8192, 16)
        exact = jnp.dtype(dtype) == jnp.float32  # as the networks have it
        precision = "highest" if exact else "default"
        self._product = jax.jit(
            lambda a, b: jnp.dot(
                a, b, preferred_element_type=jnp.float32, precision=precision
            ).astype(dtype)
        )
        shape = self._size, self._size
        self._given = [jax.random.normal(jax.random.key(i), shape, dtype) for i in range(2)]
        self.rate()  # compiles

    def rate(self) -> float:
        """Operations in a second: the best of a few, as it is the peak that is asked for."""
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            jax.block_until_ready([self._product(*self._given) for _ in range(self._times)])
            best = min(best, time.perf_counter() - start)
        return 2.0 * self._size**3 * self._times / best
