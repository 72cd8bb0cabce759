"""Training of the autoencoder: pictures to themselves, by way of few numbers."""

import dataclasses
from collections.abc import Mapping

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from emoji_jax.metrics import lpips
from emoji_jax.models.emoji import Encoders
from emoji_jax.models.vae import to_unit
from emoji_jax.training.losses import per_sample

Pictures = Float[Array, "B H W 3"]


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """What the autoencoder is trained for.

    Attributes:
      kl: weight of the latents' divergence from a normal distribution, per picture element.
      expression: how much more an error near the drawn landmarks counts.
      levels: of the Laplacian pyramid, whose finest levels are edges.
      perceptual: weight of the distance by features of a network (`metrics.lpips`).
    """

    kl: float = 1e-6
    expression: float = 4.0
    levels: int = 3
    perceptual: float = 0.0


def _halve(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    return einops.reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=2, q=2)


def pyramid_loss(difference: Pictures, weights: Float[Array, "B H W 1"], levels: int) -> Array:
    """L1 of a difference and of its details at several scales (arXiv 1707.05776), per sample."""
    total = per_sample(weights * jnp.abs(difference))
    for _ in range(levels):
        coarse = _halve(difference)
        details = difference - jnp.repeat(jnp.repeat(coarse, 2, 1), 2, 2)
        total += per_sample(weights * jnp.abs(details))
        difference, weights = coarse, _halve(weights)
    return total


def loss(
    model: Encoders,
    batch: Mapping[str, Array],
    key: PRNGKeyArray,
    cfg: AutoencoderConfig,
    perception: lpips.Weights | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Loss of a batch of `pipeline.batches`, and what goes into the log.

    Args:
      model: autoencoder, and CLIP, which has no part in it.
      batch: frames and masks.
      key: of the draw of latents.
      cfg: weights of the terms.
      perception: weights of the network for `perceptual`, if that is not zero.

    Returns:
      The loss, and metrics: numbers, and `examples`, the loss of each sample.
    """
    frames = to_unit(batch["frames"])
    count, length = frames.shape[:2]
    pictures = einops.rearrange(frames, "b f h w c -> (b f) h w c")
    mask = einops.rearrange(batch["expression_mask"], "b f h w c -> (b f) h w c")
    factor = pictures.shape[1] // mask.shape[1]
    weights = 1 + cfg.expression * einops.repeat(
        mask.astype(jnp.float32), "b h w c -> b (h p) (w q) c", p=factor, q=factor
    )
    mean, logvar = model.vae.moments(pictures)
    latents = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
    made = model.vae.decode(latents * model.vae.scaling)
    difference = made - pictures
    kl = 0.5 * per_sample(jnp.square(mean) + jnp.exp(logvar) - 1 - logvar)
    examples = pyramid_loss(difference, weights, cfg.levels) + cfg.kl * kl
    error = jnp.square(difference).mean()
    seen = {}
    if perception is not None:
        levels = [(x + 1) * 127.5 for x in (made, pictures)]
        seen["loss_perceptual"] = lpips.distance(perception, *levels).mean()
    total = examples.mean() + cfg.perceptual * seen.get("loss_perceptual", 0.0)
    return total, {
        **seen,
        "examples": examples.reshape(count, length).mean(1),
        "loss_l1": jnp.abs(difference).mean() / 2,
        "loss_kl": kl.mean(),
        "psnr": 10 * jnp.log10(4 / error),
        # So that latents can be scaled to a standard deviation of one (`VAEConfig.scaling`).
        "latent_std": latents.std(),
    }


def standardised(parameters: Mapping[str, np.ndarray], deviation: float) -> dict[str, np.ndarray]:
    """An autoencoder with latents divided by their deviation, which it decodes to the same.

    Programs need not be compiled anew for it, as they are for another `VAEConfig.scaling`.

    Args:
      parameters: by dotted name, the network's first.
      deviation: of the means; any positive number.
    """
    made = {name: np.array(x) for name, x in parameters.items()}
    kernel, bias = made["vae.quant_conv.kernel"], made["vae.quant_conv.bias"]
    half = len(bias) // 2  # means, then logarithms of variances
    kernel[:, :half] /= deviation
    bias[:half] /= deviation
    bias[half:] -= 2 * np.log(deviation)
    made["vae.post_quant_conv.kernel"] *= deviation
    return made
