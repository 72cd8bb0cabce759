"""Networks: properties that hold whatever the weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from emoji_jax.models import convolution
from emoji_jax.models.attention import attend
from emoji_jax.models.convolution import convolve
from emoji_jax.models.emoji import PRESETS, Emoji, EmojiConfig, abstract, initialise
from emoji_jax.models.image_prompt import CLIPVisionConfig, ImagePromptConfig
from emoji_jax.models.init import Draws, count
from emoji_jax.models.landmark_encoder import LandmarkEncoderConfig
from emoji_jax.models.layers import Compute, GroupNorm
from emoji_jax.models.motion import MotionModule
from emoji_jax.models.transformer import with_position
from emoji_jax.models.unet import Conditions, UNet, UNetConfig
from emoji_jax.models.vae import VAEConfig

SMALL = EmojiConfig(
    "paper",
    size=(32, 32),
    frames=2,
    unet=UNetConfig(
        in_channels=9, channels=(32, 64), attention=(True, True), layers=1, groups=8, context=24
    ),
    landmark_encoder=LandmarkEncoderConfig((8, 8, 16, 16)),
    vae=VAEConfig((8, 16, 16, 16), layers=1, groups=4),
    clip=CLIPVisionConfig(32, 64, 1, 4, image_size=28, patch_size=14, projection_dim=8),
    image_prompt=ImagePromptConfig(queries=4, width=32, heads=4),
)


def shaken(module: nnx.Module) -> nnx.Module:
    """With small random numbers added, so that layers that start at zero do something."""
    rng = np.random.default_rng(0)
    state = nnx.state(module, nnx.Param)
    shake = lambda x: x + jnp.asarray(rng.standard_normal(x.shape, np.float32) * 0.1)  # noqa: E731
    nnx.update(module, jax.tree.map(shake, state))
    return module


@pytest.fixture(scope="module")
def model() -> Emoji:
    return shaken(Emoji(SMALL, rngs=Draws(0)))


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.mark.parametrize(("n", "m", "d"), [(64, 64, 8), (300, 77, 40), (1, 5, 16), (513, 1026, 8)])
def test_attention_paths_agree(n, m, d):
    q, k, v = normal(0, 2, n, 3, d), normal(1, 2, m, 3, d), normal(2, 2, m, 3, d)
    expected = jax.nn.dot_product_attention(q, k, v, implementation="xla")
    for impl in ("xla", "chunked", "auto"):
        out = attend(q, k, v, impl)
        np.testing.assert_allclose(out, expected, atol=2e-6)


def test_attention_gradients_agree():
    q, k, v = normal(0, 1, 300, 2, 8), normal(1, 1, 50, 2, 8), normal(2, 1, 50, 2, 8)

    def gradients(impl):
        return jax.grad(lambda *a: jnp.sin(attend(*a, impl)).sum(), (0, 1, 2))(q, k, v)

    for x, y in zip(gradients("xla"), gradients("chunked"), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_attention_survives_large_logits_and_half_precision():
    q = normal(0, 1, 16, 2, 8) * 200
    out = attend(q.astype(jnp.bfloat16), q.astype(jnp.bfloat16), q.astype(jnp.bfloat16), "xla")
    assert out.dtype == jnp.bfloat16 and bool(jnp.isfinite(out).all())


def test_unknown_attention():
    x = normal(0, 1, 2, 1, 4)
    with pytest.raises(ValueError, match=r"expected one of .*auto.*splash"):
        attend.__wrapped__(x, x, x, "flash")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(2, 6, 8, 5), (1, 7, 3, 9), (3, 1, 1, 4)])
def test_convolution_paths_agree(shape, dtype):
    x, kernel = normal(0, *shape).astype(dtype), normal(1, 3, 3, shape[-1], 6).astype(dtype)
    grown = normal(2, *shape[:-1], 6).astype(dtype)
    tolerance = {"float32": 1e-5, "bfloat16": 0.05}[dtype]

    def run(impl):
        made, back = jax.vjp(lambda x, kernel: convolve(x, kernel, impl), x, kernel)
        return made, *back(grown)

    for impl in ("columns", "winograd"):
        for found, expected in zip(run(impl), run("xla"), strict=True):
            assert found.dtype == expected.dtype
            scale = np.abs(np.asarray(expected, np.float32)).max()
            error = np.abs(np.asarray(found, np.float32) - np.asarray(expected, np.float32))
            assert error.max() < tolerance * scale


def test_convolutions_are_chosen_by_shape():
    def picked(count, side, inputs, outputs, dtype=jnp.float32):
        return convolution._choose((count, side, side, inputs), outputs, jnp.dtype(dtype))

    assert picked(1, 64, 64, 64) == picked(1, 64, 320, 4) == ("xla", 1)
    assert picked(0, 64, 128, 128) == ("xla", 0)
    assert picked(16, 16, 128, 128) == ("winograd", 16)
    assert picked(2, 4, 1280, 1280) == ("columns", 2)
    assert picked(16, 16, 128, 128, jnp.bfloat16) == ("columns", 16)
    # Not more at a time than stays in cache, nor what would take gigabytes.
    assert picked(30, 64, 128, 128) == ("winograd", 3)
    assert picked(4, 128, 512, 512) == ("winograd", 1)
    assert picked(4, 256, 512, 512) == ("xla", 4)
    with convolution.as_written():
        assert picked(16, 16, 128, 128) == ("xla", 16)
    with pytest.raises(ValueError, match="expected auto, xla, columns or winograd"):
        convolve.__wrapped__(jnp.zeros((1, 2, 2, 3)), jnp.zeros((3, 3, 3, 3)), "fft")


def test_pictures_taken_in_turns(monkeypatch):
    x, kernel = normal(0, 6, 4, 4, 128), normal(1, 3, 3, 128, 128)
    expected = convolve(x, kernel, "xla")
    monkeypatch.setattr(convolution, "_ROOM", 4 * 16 * 256 * 2)
    assert convolution._choose(x.shape, 128, x.dtype) == ("winograd", 2)
    np.testing.assert_allclose(convolve(x, kernel), expected, atol=1e-5 * np.abs(expected).max())


def test_group_norm_keeps_frames_apart():
    norm = GroupNorm(8, 4, eps=1e-5, rngs=Draws(0))
    x = normal(0, 1, 3, 4, 4, 8)
    changed = x.at[:, 1].multiply(100)
    np.testing.assert_array_equal(norm(x)[:, [0, 2]], norm(changed)[:, [0, 2]])


@functools.partial(jax.jit, static_argnames=("references", "batch"))
def call(
    model: Emoji, references: bool = True, batch: int = 2, drop: jax.Array | None = None
) -> jax.Array:
    x, t = normal(0, batch, 2, 4, 4, 9), jnp.arange(batch) * 300
    latents, gathered = normal(1, batch, 4, 4, 4), normal(2, batch, 4, 32)
    conditions = dataclasses.replace(
        model.condition_on(latents, gathered), motion=normal(3, batch, 2, 4, 4, 32), drop=drop
    )
    if not references:
        conditions = dataclasses.replace(conditions, references=None)
    return model.unet(x, t, conditions)


@jax.jit
def unet(model: Emoji, x: jax.Array, t: jax.Array, conditions: Conditions) -> jax.Array:
    return model.unet(x, t, conditions)


def test_guidance_halves_are_the_two_runs(model):
    x = normal(0, 1, 2, 4, 4, 9)
    conditions = model.condition_on(normal(1, 1, 4, 4, 4), normal(2, 1, 4, 32))
    conditions = dataclasses.replace(conditions, motion=normal(3, 1, 2, 4, 4, 32))
    t = jnp.array([700])
    twice = jnp.concatenate([x, x])
    both = unet(model, twice, jnp.array([700, 700]), model.with_unconditional(conditions))
    empty = model.image_prompt.unet(jnp.zeros((1, 4, 32)))
    alone = unet(model, x, t, Conditions(empty, None, conditions.motion))
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)
    np.testing.assert_allclose(both[1:], unet(model, x, t, conditions), atol=1e-5)
    assert float(jnp.abs(both[0] - both[1]).max()) > 1e-3


def test_dropped_samples_see_no_portrait(model):
    mixed = call(model, drop=jnp.array([True, False]))
    np.testing.assert_allclose(mixed[0], call(model, references=False)[0], atol=1e-5)
    np.testing.assert_allclose(mixed[1], call(model)[1], atol=1e-5)


def test_samples_do_not_mix(model):
    np.testing.assert_allclose(call(model)[:1], call(model, batch=1), atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("compute", [Compute(remat=True), Compute(attention="chunked")])
def test_compute_changes_no_number(model, compute):
    graph, _ = abstract(SMALL, compute)
    other = nnx.merge(graph, nnx.state(model))
    np.testing.assert_allclose(call(other), call(model), atol=2e-5)

    def loss(net: Emoji) -> jax.Array:
        return jnp.square(call(net)).mean()

    gradients = [jax.jit(jax.grad(loss))(net) for net in (model, other)]
    for x, y in zip(*(jax.tree.leaves(g) for g in gradients), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4, rtol=1e-2)


def test_bfloat16_is_near_fp32(model):
    graph, _ = abstract(SMALL, Compute(dtype=jnp.bfloat16))
    half = call(nnx.merge(graph, nnx.state(model)))
    assert half.dtype == jnp.float32
    error = jnp.abs(half - call(model)).max() / jnp.abs(call(model)).max()
    assert 0 < float(error) < 0.1


def test_motion_module_starts_as_identity_and_sees_only_time():
    module = MotionModule(32, 4, Compute(), rngs=Draws(0))
    x = normal(0, 1, 3, 2, 2, 32)
    np.testing.assert_array_equal(module(x), x)
    shaken(module)
    changed = x.at[:, 0, 0, 0].add(1.0)
    difference = jnp.abs(module(changed) - module(x)).max((0, 4))
    # The norm before it takes its statistics over the whole frame, so frame 0 changes everywhere.
    assert float(difference[1:, 1, 1].max()) < float(difference[1:, 0, 0].min())


def test_sides_that_do_not_divide(model):
    for height, width in [(5, 7), (1, 3)]:
        x = normal(0, 1, 1, height, width, 9)
        conditions = Conditions(normal(1, 1, 4, 24))
        assert unet(model, x, jnp.array([3]), conditions).shape == (1, 1, height, width, 4)


def test_position():
    """Every place has its own sum; neighbours are nearest; told nothing, nothing is added."""
    x = jnp.zeros((2, 8, 6, 64))
    assert with_position(x, False) is x
    waves = np.asarray(with_position(x))
    np.testing.assert_array_equal(waves[0], waves[1])
    flat = waves[0].reshape(48, 64)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 99 * np.eye(48)
    rows, columns = np.divmod(np.arange(48), 6)
    nearest = distance.argmin(1)
    assert (np.abs(rows - rows[nearest]) + np.abs(columns - columns[nearest]) == 1).all()


def test_both_networks_are_told_positions():
    told = dataclasses.replace(SMALL, unet=dataclasses.replace(SMALL.unet, position=True))
    same, other = (nnx.split(Emoji(cfg, rngs=Draws(0))) for cfg in (SMALL, told))
    latents, tokens = normal(1, 1, 4, 4, 4), normal(2, 1, 4, 24)
    both = [nnx.merge(graph, same[1]).appearance(latents, tokens) for graph in (same[0], other[0])]
    for plain, placed in zip(*both, strict=True):
        assert jnp.abs(plain - placed).max() > 0.1


def test_presets():
    sizes = {name: abstract(make())[1] for name, make in PRESETS.items()}
    assert count(sizes["release"]["unet"]) == 1_313_517_444 - 787_200
    extra = count(sizes["paper"]["unet"]) - count(sizes["release"]["unet"])
    assert extra == 3 * 3 * 5 * 320
    assert PRESETS["paper"]().masked and PRESETS["tiny"]().masked
    assert not PRESETS["release"]().masked
    for name, make in PRESETS.items():
        assert make().preset == name


def test_initialise_is_the_same_for_a_seed():
    once, twice, other = (initialise(SMALL, seed=seed) for seed in (1, 1, 2))
    for x, y in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        np.testing.assert_array_equal(x, y)
    kernel = lambda state: state["unet"]["conv_in"]["kernel"].get_value()  # noqa: E731
    assert bool((kernel(once) != kernel(other)).any())


def test_untrained_landmarks_and_motion_add_nothing():
    """Layers that must start at zero do, so that a training starts from the still network."""
    net = Emoji(SMALL, rngs=Draws(0))
    assert not np.any(net.landmark_encoder(normal(0, 1, 32, 32, 3)))
    unet = UNet(dataclasses.replace(SMALL.unet, motion=False), Compute(), rngs=Draws(5))
    moving = UNet(SMALL.unet, Compute(), rngs=Draws(6))
    nnx.update(moving, nnx.state(unet))
    x, t, conditions = normal(0, 1, 2, 4, 4, 9), jnp.array([5]), Conditions(normal(1, 1, 4, 24))
    np.testing.assert_allclose(moving(x, t, conditions), unet(x, t, conditions), atol=1e-5)


def test_warped_portraits_begin_without_influence_and_then_have_one():
    net = Emoji(dataclasses.replace(SMALL, warped=True), rngs=Draws(0))
    drawn = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 6), np.uint8)
    other = drawn.copy()
    other[1, 2, ..., 3:] = 255 - other[1, 2, ..., 3:]
    assert not np.any(net.see(jnp.asarray(drawn)))
    kernel = net.landmark_encoder.conv_warped.kernel
    kernel[...] = jnp.ones_like(kernel[...])
    differ = np.asarray(net.see(jnp.asarray(drawn)) != net.see(jnp.asarray(other)))
    # Each frame sees its own.
    assert differ[1, 2].any() and not differ[0].any() and not differ[1, :2].any()


def test_shapes_are_checked_while_testing(model):
    with pytest.raises(Exception, match="Type-check error"):
        model.landmark_encoder(normal(0, 1, 32, 32, 4))
