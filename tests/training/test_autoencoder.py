"""What the autoencoder is trained for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from emoji_jax.errors import UserError
from emoji_jax.metrics import lpips
from emoji_jax.models.emoji import Encoders, abstract, initialise
from emoji_jax.training import autoencoder
from emoji_jax.training.autoencoder import AutoencoderConfig
from tests.training.small import NETWORKS


@pytest.fixture(scope="module")
def perception() -> lpips.Weights:
    try:
        return lpips.load()
    except UserError as error:
        pytest.skip(f"no weights: {error}")


def test_perceptual_term_is_the_distance_and_reaches_the_decoder(perception):
    graph, _ = abstract(NETWORKS, kind=Encoders)
    parameters = initialise(NETWORKS, seed=0, kind=Encoders)
    rng = np.random.default_rng(0)
    batch = {
        "frames": jnp.asarray(rng.integers(0, 256, (2, 1, 64, 64, 3), np.uint8)),
        "expression_mask": jnp.zeros((2, 1, 8, 8, 1), jnp.uint8),
    }

    def total(parameters: nnx.State, weight: float) -> tuple:
        return autoencoder.loss(
            nnx.merge(graph, parameters),
            batch,
            jax.random.key(0),
            AutoencoderConfig(perceptual=weight),
            perception if weight else None,
        )

    without, plain = total(parameters, 0.0)
    with_it, metrics = total(parameters, 0.5)
    assert "loss_perceptual" not in plain
    np.testing.assert_allclose(with_it - without, 0.5 * metrics["loss_perceptual"], rtol=1e-4)
    assert 0.01 < metrics["loss_perceptual"] < 2
    gradients = [jax.grad(lambda p, w=w: total(p, w)[0])(parameters) for w in (0.0, 0.5)]
    kernels = [g["vae"]["decoder"]["conv_out"]["kernel"].get_value() for g in gradients]
    assert np.isfinite(kernels[1]).all() and np.abs(kernels[1] - kernels[0]).max() > 1e-6
