"""3x3 convolution behind one function; like `attention`, it knows about hardware."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Implementation = Literal["auto", "xla", "columns", "winograd"]

# Channels from which matrix products pay, on the CPU.
_CHANNELS = 128
# Numbers beside input and output: more than the first do not stay in cache, and pictures are taken
# in turns (some 1.3 times as fast); more than the second for a single picture are not worth it.
_ROOM, _MOST = 2**24, 2**26
# Known to JAX, so that what was traced without it is not taken for what is traced with it.
AS_WRITTEN = jax.make_user_context(False)


def convolve(
    x: Float[Array, "B H W I"], kernel: Float[Array, "3 3 I O"], impl: Implementation = "auto"
) -> Float[Array, "B H W O"]:
    """3x3 convolution with stride 1, padded by one on every side.

    Args:
      x: pictures.
      kernel: weights.
      impl: `xla` is the compiler's own; `columns` one matrix product with all nine neighbours side
        by side; `winograd` 16 products for four pixels instead of 36, F(2x2, 3x3) of arXiv
        1509.09308; `auto` picks from backend, dtype and shapes. In fp32 all agree to 1e-6 of the
        largest output.

    Raises:
      ValueError: an unknown `impl`.
    """
    if impl == "auto":
        impl, together = _choose(x.shape, kernel.shape[-1], x.dtype)
        if together < len(x):
            some = functools.partial(convolve, kernel=kernel, impl=impl)
            made = jax.lax.map(some, x.reshape(-1, together, *x.shape[1:]))
            return made.reshape(*x.shape[:-1], -1)
    if impl == "xla":
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers
        )
    if impl == "columns":
        return _columns(x, kernel)
    if impl == "winograd":
        return _winograd(x, kernel)
    raise ValueError(f"convolution impl is {impl!r}; expected auto, xla, columns or winograd")


@contextmanager
def as_written() -> Iterator[None]:
    """Within, functions are traced without special kernels, so as to count what they do."""
    with AS_WRITTEN(True):
        yield


def _choose(shape: tuple[int, ...], outputs: int, dtype: DTypeLike) -> tuple[Implementation, int]:
    """How, and of how many pictures at a time."""
    count, pixels, inputs = shape[0], math.prod(shape[1:3]), shape[3]
    if not count:
        return "xla", 0
    if jax.default_backend() != "cpu" or min(inputs, outputs) < _CHANNELS or AS_WRITTEN.value:
        return "xla", count
    # Transformed weights are made in each call: it takes enough rows that use them. Half precision
    # has instructions for matrix products, and not the digits for Winograd's sums.
    columns = 2 * count * pixels < inputs or dtype != jnp.float32
    room = pixels * (9 * inputs if columns else 4 * (inputs + outputs))
    alone = jax.device_count() == 1  # or pictures of all devices would come by, one after another
    if (room if alone else count * room) > _MOST:
        return "xla", count
    fits = max(1, _ROOM // room) if alone else count
    together = max(n for n in range(1, min(fits, count) + 1) if count % n == 0)
    return "columns" if columns else "winograd", together


def _columns(x: Array, kernel: Array) -> Array:
    _, height, width, inputs = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = jnp.concatenate(
        [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], -1
    )
    product = jnp.dot(columns, kernel.reshape(9 * inputs, -1), preferred_element_type=jnp.float32)
    return product.astype(x.dtype)


_Parts = Sequence[Array]


def _of_pixels(d: _Parts) -> _Parts:
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _of_weights(g: _Parts) -> _Parts:
    return g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]


def _to_pixels(m: _Parts) -> _Parts:
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _both_ways(transform: Callable[[_Parts], _Parts], grid: Sequence[_Parts]) -> list[_Parts]:
    """Applies a transform to each column, then to each row, of a grid of arrays."""
    columns = [transform(column) for column in zip(*grid, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _winograd(x: Array, kernel: Array) -> Array:
    count, height, width, _ = x.shape
    # Each output tile of 2x2 sees 4x4 pixels; odd sides have a row or column to spare.
    h, w = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    tiles = [
        [x[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for j in range(4)] for i in range(4)
    ]
    pixels = _both_ways(_of_pixels, tiles)
    weights = _both_ways(_of_weights, [list(row) for row in kernel])
    products = [
        [jnp.dot(d, g) for d, g in zip(*rows, strict=True)]
        for rows in zip(pixels, weights, strict=True)
    ]
    made = jnp.stack([jnp.stack(row) for row in _both_ways(_to_pixels, products)])
    made = made.transpose(2, 3, 0, 4, 1, 5).reshape(count, 2 * h, 2 * w, -1)
    return made[:, :height, :width]
