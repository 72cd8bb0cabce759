"""Counting arithmetic."""

import jax
import jax.numpy as jnp
import pytest

from emoji_jax.models.convolution import as_written, convolve
from emoji_jax.training import flops

A, B = jnp.zeros((5, 7, 3)), jnp.zeros((5, 3, 11))
PRODUCT = 2 * 5 * 7 * 11 * 3


def test_products_and_their_gradients():
    assert flops.count(jnp.matmul, A, B) == PRODUCT
    gradient = jax.grad(lambda a, b: jnp.sin(a @ b).sum(), (0, 1))
    assert flops.count(gradient, A, B) == 3 * PRODUCT


def test_loops_count_in_full():
    assert flops.count(lambda a, b: jax.lax.map(lambda x: x[0] @ x[1], (a, b)), A, B) == PRODUCT
    assert flops.count(jax.jit(jax.checkpoint(jnp.matmul)), A, B) == PRODUCT


def test_all_devices_of_a_shared_program_count():
    kind, spec = (jax.sharding.AxisType.Auto,), jax.sharding.PartitionSpec("data")
    for times in (1, 4):
        where = jax.sharding.AbstractMesh((times,), ("data",), axis_types=kind)
        product = jax.shard_map(
            lambda x: x @ x.T, mesh=where, in_specs=spec, out_specs=spec, check_vma=False
        )
        rows = 3 * times  # of all devices together
        found = flops.count(product, jax.ShapeDtypeStruct((rows, 5), jnp.float32))
        assert found == times * 2 * 3 * 3 * 5


def test_the_dearer_branch_counts():
    def either(a, b):
        return jax.lax.cond(a[0, 0, 0] > 0, lambda: a @ b, lambda: a[..., :1] @ b[:, :1])

    assert flops.count(either, A, B) == PRODUCT


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(stride):
    x, kernel = jnp.zeros((2, 8, 8, 6)), jnp.zeros((3, 3, 6, 10))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    forward = 2 * 2 * (8 // stride) ** 2 * 10 * 9 * 6
    assert flops.count(convolve, x, kernel) == forward
    gradient = jax.grad(lambda x, kernel: jnp.sin(convolve(x, kernel)).sum(), (0, 1))
    # The borders are not taken off, which differ between a convolution and its gradients.
    assert flops.count(gradient, x, kernel) == pytest.approx(3 * forward, rel=0.15)


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.jit, jax.checkpoint])
def test_convolutions_count_as_written(wrapped):
    """Also when the same function was traced before, with the kernels that are fast here."""
    x, kernel = jnp.zeros((2, 8, 8, 128)), jnp.zeros((3, 3, 128, 128))
    function = wrapped(convolve)
    fast = jax.jit(function).lower(x, kernel).as_text()
    assert flops.count(function, x, kernel) == 2 * 2 * 8 * 8 * 9 * 128**2
    with as_written():
        assert jax.jit(function).lower(x, kernel).as_text() != fast
    assert jax.jit(function).lower(x, kernel).as_text() == fast
