"""Attention: which way a call takes, and that the TPU's kernel, interpreted, is the exact path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emoji_jax.models import attention, splash
from emoji_jax.models.attention import attend
from emoji_jax.models.convolution import as_written


def tokens(n: int, m: int, d: int, dtype="float32", *, b: int = 1, h: int = 1) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    shapes = [(b, n, h, d), (b, m, h, d), (b, m, h, d)]
    return [jnp.asarray(rng.standard_normal(s, np.float32), dtype) for s in shapes]


def shapes(n: int, m: int, d: int, dtype="bfloat16", b: int = 2) -> tuple:
    return tuple(jax.ShapeDtypeStruct((b, x, 8, d), dtype) for x in (n, m))


def way(call: tuple) -> str:
    """The implementation that `auto` takes for shapes."""
    found = []
    jax.eval_shape(lambda *a: found.append(attention._kernel(*a) or attention._choose(*a)), *call)
    return found[0]


def interpreted(q, k, v):
    return splash.attend(q, k, v, interpret=True)


def exact(q, k, v):
    return attend(q, k, v, "xla")


def with_gradients(function, arguments) -> list[jax.Array]:
    def loss(*a):
        return jnp.sin(3 * function(*a).astype(jnp.float32)).sum()

    both = jax.jit(lambda *a: (function(*a), jax.grad(loss, (0, 1, 2))(*a)))
    return [x.astype(jnp.float32) for x in jax.tree.leaves(both(*arguments))]


@pytest.mark.parametrize(("d", "dtype"), [(40, "float32"), (160, "bfloat16")])
def test_kernel_is_exact_attention(d, dtype):
    """With gradients, of numbers of tokens that don't fill blocks."""
    arguments = tokens(131, 263, d, dtype)
    tolerance = {"float32": 3e-6, "bfloat16": 0.03}[dtype]
    made, wanted = (with_gradients(f, arguments) for f in (interpreted, exact))
    for x, y in zip(made, wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


@pytest.mark.parametrize("count", [(128, 256), (520, 1030)])
def test_kernel_of_several_blocks_rows_and_heads(count):
    arguments = tokens(*count, 8, b=2, h=2)
    np.testing.assert_allclose(interpreted(*arguments), exact(*arguments), atol=2e-6)


@pytest.mark.parametrize(("b", "n", "m"), [(16, 16, 16), (13, 8, 5), (2, 200, 3)])
def test_merged_sequences_see_their_own(b, n, m):
    arguments = tokens(n, m, 8, b=b, h=2)
    made, wanted = (
        with_gradients(lambda *a, i=i: attend(*a, i), arguments) for i in ("merged", "xla")
    )
    for x, y in zip(made, wanted, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5, rtol=1e-5)


def test_padded_keys_weigh_nothing():
    """Also where each real one is a thousand below them."""
    q, k, v = tokens(4, 5, 8)
    arguments = [q + 20, k - 20, v]
    np.testing.assert_allclose(interpreted(*arguments), exact(*arguments), atol=1e-4)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (128, 128)), (512, (512, 512)), (513, (384, 768)), (1040, (384, 1152))],
)
def test_blocks_waste_little(count, expected):
    assert splash._blocks(count) == expected


def test_devices_keep_their_rows():
    """Under a mesh the kernel is mapped over its devices, as is its gradient."""
    mesh = jax.make_mesh((1, 1), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    arguments = tokens(20, 30, 8)

    def inside(*a):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return interpreted(*a)

    gradient = jax.make_jaxpr(jax.grad(lambda *a: inside(*a).sum()))(*arguments)
    assert str(gradient).count("shard_map[") == 2
    placed = jax.device_put(arguments, NamedSharding(mesh, PartitionSpec(("data", "fsdp"))))
    made = jax.jit(inside)(*placed)
    np.testing.assert_allclose(made, exact(*arguments), atol=2e-6)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (shapes(4096, 8192, 40), "splash"),
        (shapes(1024, 1024, 80, "float32"), "splash"),
        (shapes(256, 512, 160), "xla"),  # few tokens
        (shapes(65536, 257, 40, b=1), "xla"),  # an image prompt
        (shapes(65536, 16, 40, b=1), "xla"),
        (shapes(16, 16, 160, b=512), "merged"),  # along time
        (shapes(16, 16, 40, b=64), "xla"),  # not many
        (shapes(4096, 4096, 512), "xla"),  # the autoencoder's
        (shapes(4096, 8192, 40, "float16"), "chunked"),
    ],
)
def test_way_on_tpu(monkeypatch, call, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert way(call) == expected


def test_kernel_needs_whole_rows(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    call = shapes(4096, 8192, 40, b=6)
    mesh = jax.sharding.AbstractMesh((2, 2), ("data", "fsdp"))
    with jax.sharding.use_abstract_mesh(mesh):
        assert way(call) == "chunked"
        assert way(shapes(4096, 8192, 40, b=8)) == "splash"
    assert way(call) == "splash"
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert way(call) == "chunked", "which of them would run it is not known"


def test_kernels_are_not_what_is_counted(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with as_written():
        assert way(shapes(4096, 8192, 40)) == "chunked"


def test_kernel_is_not_for_more_digits_than_there_are(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with jax.default_matmul_precision("highest"):
        assert way(shapes(4096, 8192, 40)) == "chunked"
        assert way(shapes(4096, 8192, 40, "float32")) == "splash"


@pytest.mark.parametrize(
    ("capability", "width", "expected"),
    [
        ("8.0", 128, "cudnn"),
        ("8.9", 160, "xla"),
        ("9.0", 160, "cudnn"),
        ("9.0", 264, "xla"),
        ("9.0", 100, "xla"),
        ("10.0", 160, "xla"),
        ("7.5", 64, "xla"),
    ],
)
def test_heads_that_cudnn_takes(monkeypatch, capability, width, expected):
    device = type("Device", (), {"compute_capability": capability})()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert way(shapes(300, 77, width)) == expected
    assert way(shapes(300, 77, width, "float32")) == "xla"


@pytest.mark.parametrize("impl", ["splash", "cudnn"])
def test_kernels_of_other_machines_are_as_auto(impl):
    arguments = tokens(7, 9, 8)
    np.testing.assert_array_equal(attend(*arguments, impl), attend(*arguments, "auto"))


@pytest.mark.parametrize(("n", "m", "kernels"), [(7, 8, False), (8, 5, False), (8, 6, True)])
def test_kernel_of_odd_lengths_makes_no_gradients(monkeypatch, n, m, kernels):
    calls = []

    @jax.custom_vjp
    def kernel(q, k, v):
        calls.append("values")
        return attention._exact(q, k, v)

    def differentiated(q, k, v):
        calls.append("gradients")
        return jax.vjp(attention._exact, q, k, v)

    kernel.defvjp(differentiated, lambda pull, gradient: pull(gradient))
    given = lambda q, k, v, implementation: kernel(q, k, v)  # noqa: E731
    monkeypatch.setattr(jax.nn, "dot_product_attention", given)
    monkeypatch.setattr(attention, "_kernel", lambda *_: "cudnn")
    arguments = tokens(n, m, 8)
    attend(*arguments)
    assert calls == ["values"]
    calls.clear()

    def total(impl):
        return jax.grad(lambda a: jnp.sin(attend(*a, impl)).sum())(arguments)

    for ours, exact in zip(total("auto"), total("xla"), strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-6)
    assert calls == (["gradients"] if kernels else [])
