"""Evaluations that a sampler does without, and what takes their place."""

import jax.numpy as jnp
import numpy as np
import pytest

from emoji_jax import diffusion
from emoji_jax.models.init import Draws
from emoji_jax.models.layers import Compute
from emoji_jax.models.unet import Conditions, UNet, UNetConfig
from emoji_jax.plan import CACHES, Cache, plan
from tests.test_long_video import COUNT, conditions, denoise, pictures, programs  # noqa: F401

T = diffusion.trailing_timesteps(12)


def test_everything_is_computed_unless_told_otherwise():
    whole = plan(T)
    assert whole.guided.all() and whole.full.all() and not whole.skips
    assert not plan(T, guidance=False).guided.any()


@pytest.mark.parametrize("order", [0, 1, 2])
def test_polynomials_are_followed(order):
    """Of as high an order as there are full steps for."""
    found = plan(T, cache=Cache(3, 3, order, 1))
    assert list(np.flatnonzero(found.full)) == [0, 1, 2, 5, 8, 11]
    values = (np.arange(12) - 3.0) ** order + 2
    for i in np.flatnonzero(~found.full):
        recent = [values[k] for k in np.flatnonzero(found.full[:i])[::-1][:3]]
        assert np.dot(found.weights[i], recent) == pytest.approx(values[i], abs=1e-4)


def test_guidance_is_in_its_interval():
    found = plan(T, interval=(0.25, 0.75))
    parts = (T + 1) / diffusion.TRAIN_STEPS
    assert list(found.guided) == [0.25 <= part <= 0.75 for part in parts]
    spans = list(found.spans())
    assert [spans[0][1], spans[-1][2]] == [0, 12]
    assert all(found.guided[first:last].all() == guided for guided, first, last in spans)
    assert all(len(set(found.guided[first:last])) == 1 for _, first, last in spans)


def test_nothing_is_predicted_from_the_other_side_of_a_change_of_guidance():
    found = plan(T, interval=(0.4, 1.0), cache=Cache(1, 4, 2, 1))
    change = int(np.flatnonzero(np.diff(found.guided))[0]) + 1
    assert found.full[change] and not found.full[change + 1]
    np.testing.assert_array_equal(found.weights[change + 1], [1, 0, 0])


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_inner_features_that_are_given_back_change_nothing(depth, side):
    shape = {"layers": 1, "heads": 2, "groups": 4, "context": 8, "motion": False}
    cfg = UNetConfig(4, 4, (8, 16, 16), (True, True, False), **shape)
    unet = UNet(cfg, Compute(), rngs=Draws(0))
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    x, t, seen = normal(2, 3, side, side, 4), jnp.array([500, 20]), Conditions(normal(2, 5, 8))
    whole, inner = unet.with_inner(x, t, seen, depth)
    np.testing.assert_allclose(whole, unet(x, t, seen), atol=1e-6)
    again, same = unet.with_inner(x, t, seen, depth, inner)
    np.testing.assert_allclose(again, whole, atol=1e-6)
    np.testing.assert_array_equal(inner, same)
    other, _ = unet.with_inner(x, t, seen, depth, -inner)
    assert np.abs(other - whole).max() > 1e-3


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
@pytest.mark.parametrize("count", [4, COUNT])
def test_a_cache_is_near_and_different(denoise, monkeypatch, long_video, count):  # noqa: F811
    """In one clip and in both ways of making a long one."""
    monkeypatch.setitem(CACHES, "test", Cache(1, 2, 1, 0))
    whole = denoise(count, long_video=long_video, steps=6)
    quick = denoise(count, long_video=long_video, steps=6, cache="test")
    coarse = denoise(count, long_video=long_video, steps=2)
    assert np.isfinite(quick).all()
    difference = np.abs(quick - whole).mean()
    assert 1e-4 < difference < np.abs(coarse - whole).mean()


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
def test_guidance_everywhere_and_nowhere(denoise, long_video):  # noqa: F811
    options = {"long_video": long_video, "guidance_scale": 2.0}
    whole = denoise(**options)
    np.testing.assert_array_equal(denoise(**options, guidance_interval=(0.0, 1.0)), whole)
    nowhere = denoise(**options, guidance_interval=(0.0, 0.0))
    np.testing.assert_allclose(
        nowhere, denoise(long_video=long_video, guidance_scale=1.0), atol=2e-4
    )
    between = denoise(**options, guidance_interval=(0.5, 1.0))
    assert np.abs(between - whole).max() > 1e-4 and np.abs(between - nowhere).max() > 1e-4
