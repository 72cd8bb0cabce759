"""What training minimises (arXiv 2406.01900, eq. 1 and 2), and its parts for the log."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emoji_jax.diffusion import Schedule

Maps = Float[Array, "B F h w C"]
Masks = Float[Array, "B F h w 1"]


def per_sample(values: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Mean over everything but the samples."""
    return values.reshape(len(values), -1).mean(1)


def snr_weights(schedule: Schedule, t: Int[Array, " B"], gamma: float) -> Float[Array, " B"]:
    """Min-SNR weights for velocities, min(SNR + 1, gamma) / (SNR + 1) (arXiv 2303.09556).

    The one is added because the velocity's own weight is SNR + 1. At zero SNR the weight is 1.
    """
    # With alpha^2 + sigma^2 = 1, SNR + 1 is 1 / sigma^2, which is finite at every timestep.
    sigma_squared = jnp.asarray(schedule.sigma**2)[t]
    return jnp.minimum(1.0, gamma * sigma_squared)


def pseudo_huber(difference: Maps, width: float) -> Maps:
    """sqrt(d^2 + c^2) - c, with which few large differences count less than squared.

    Args:
      difference: d.
      width: c, where squares pass into absolute values; 0: squares everywhere.
    """
    if not width:
        return jnp.square(difference)
    return jnp.sqrt(jnp.square(difference) + width**2) - width


def ldm_loss(predicted: Maps, target: Maps) -> Float[Array, " B"]:
    """L_LDM of each sample: mean square of what is wrong with the predicted velocity."""
    return per_sample(jnp.square(predicted - target))


def facial_fine_grained_loss(
    x0: Maps, predicted_x0: Maps, expression_mask: Masks, face_mask: Masks
) -> Float[Array, " B"]:
    """L_FFG of each sample (eq. 1): mean square of M_e (z - z^) + M_f (z - z^).

    The masks are summed inside the norm, so that where both are 1 the square counts four times.
    """
    return per_sample(jnp.square((expression_mask + face_mask) * (x0 - predicted_x0)))


def region_means(
    squares: Maps, expression_mask: Masks, face_mask: Masks
) -> dict[str, Float[Array, ""]]:
    """Mean of `squares` near the drawn landmarks, in the rest of the face, and outside.

    A region that no sample has gives 0.
    """
    face = face_mask * (1 - expression_mask)
    regions = {
        "expression": expression_mask,
        "face": face,
        "background": (1 - expression_mask) * (1 - face_mask),
    }
    values = squares.mean(-1, keepdims=True)
    return {
        name: (values * mask).sum() / jnp.maximum(mask.sum(), 1) for name, mask in regions.items()
    }
