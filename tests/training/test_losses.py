"""Losses against the equations, worked out by hand or with NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from emoji_jax import diffusion
from emoji_jax.training import losses


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_masks_are_summed_inside_the_norm():
    x0, predicted = jnp.ones((1, 1, 2, 2, 1)), jnp.zeros((1, 1, 2, 2, 1))
    expression = jnp.array([1.0, 0, 1, 0]).reshape(1, 1, 2, 2, 1)
    face = jnp.array([1.0, 1, 0, 0]).reshape(1, 1, 2, 2, 1)
    # (1 + 1)^2, 1, 1 and 0, of which the mean is 6 / 4.
    loss = losses.facial_fine_grained_loss(x0, predicted, expression, face)
    np.testing.assert_allclose(loss, [1.5])


def test_facial_loss_is_equation_1():
    z, predicted = normal(0, 3, 2, 4, 4, 5), normal(1, 3, 2, 4, 4, 5)
    masks = [(normal(i, 3, 2, 4, 4, 1) > 0).astype(np.float32) for i in (2, 3)]
    expected = np.square(masks[0] * (z - predicted) + masks[1] * (z - predicted))
    loss = losses.facial_fine_grained_loss(*map(jnp.asarray, (z, predicted, *masks)))
    np.testing.assert_allclose(loss, expected.mean((1, 2, 3, 4)), rtol=1e-5)


def test_facial_loss_outside_the_masks_is_nothing():
    zeros = jnp.zeros((2, 1, 4, 4, 1))
    loss = losses.facial_fine_grained_loss(
        jnp.asarray(normal(0, 2, 1, 4, 4, 3)), jnp.asarray(normal(1, 2, 1, 4, 4, 3)), zeros, zeros
    )
    np.testing.assert_array_equal(loss, 0)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(gamma):
    schedule = diffusion.schedule()
    t = np.array([0, 10, 500, 998, 999])
    alpha, sigma = schedule.alpha[t].astype(float), schedule.sigma[t].astype(float)
    snr = (alpha / sigma) ** 2
    weights = losses.snr_weights(schedule, jnp.asarray(t), gamma)
    np.testing.assert_allclose(weights, np.minimum(snr + 1, gamma) / (snr + 1), rtol=1e-4)
    assert weights[-1] == 1  # pure noise is still learnt


def test_region_means_cover_the_picture_once():
    squares = jnp.asarray(normal(0, 2, 1, 4, 4, 3) ** 2)
    expression = jnp.zeros((2, 1, 4, 4, 1)).at[:, :, 0].set(1)
    face = jnp.zeros((2, 1, 4, 4, 1)).at[:, :, :2].set(1)
    means = losses.region_means(squares, expression, face)
    rows = np.asarray(squares).mean((0, 1, 3, 4))
    np.testing.assert_allclose(means["expression"], rows[0], rtol=1e-5)
    np.testing.assert_allclose(means["face"], rows[1], rtol=1e-5)
    np.testing.assert_allclose(means["background"], rows[2:].mean(), rtol=1e-5)


def test_a_region_that_is_not_there_counts_nothing():
    zeros = jnp.zeros((1, 1, 2, 2, 1))
    assert losses.region_means(jnp.ones((1, 1, 2, 2, 3)), zeros, zeros)["expression"] == 0
