"""What a batch costs in either stage of training the animation networks (arXiv 2406.01900)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from emoji_jax import diffusion
from emoji_jax.models.emoji import Emoji
from emoji_jax.models.unet import Conditions
from emoji_jax.models.vae import to_unit
from emoji_jax.training.losses import (
    facial_fine_grained_loss,
    ldm_loss,
    region_means,
    snr_weights,
)

Batch = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class AnimationConfig:
    """What the networks are trained for, and on what noise.

    Attributes:
      ffg: weight of the facial fine-grained loss (eq. 2: one).
      expression_mask: whether eq. 1 has M_e (table 2: without it).
      face_mask: whether eq. 1 has M_f (table 2: without it).
      min_snr: gamma of min-SNR weighting of both losses; 0 weights all timesteps alike.
      noise_offset: standard deviation of noise that is the same all over a sample.
      drop: samples that see no portrait, as a fraction, for guidance.
      known: without motion modules, the fraction of frames that are given.
      ends_known: with them, the fraction of clips whose first and last frames are given (3.3).
      each_known: in all other clips, the fraction of frames that are given.
    """

    ffg: float = 1.0
    expression_mask: bool = True
    face_mask: bool = True
    min_snr: float = 0.0
    noise_offset: float = 0.05
    drop: float = 0.1
    known: float = 0.5
    ends_known: float = 0.5
    each_known: float = 0.5


def known_frames(
    key: PRNGKeyArray, batch: int, frames: int, cfg: AnimationConfig, *, motion: bool
) -> Bool[Array, "B F"]:
    """Which frames the UNet is given clean: the masks of the progressive strategy (3.3).

    Args:
      key: of the draw.
      batch: B.
      frames: F.
      cfg: probabilities.
      motion: whether frames are a clip; if not, each stands for itself.
    """
    which, each = jax.random.split(key)
    if not motion:
        return jax.random.bernoulli(each, cfg.known, (batch, frames))
    ends = (jnp.arange(frames) == 0) | (jnp.arange(frames) == frames - 1)
    first_and_last = jax.random.bernoulli(which, cfg.ends_known, (batch, 1))
    anywhere = jax.random.bernoulli(each, cfg.each_known, (batch, frames))
    return jnp.where(first_and_last, ends, anywhere)


def encode(model: Emoji, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Array, Array]:
    """Scaled latents of frames and reference, and CLIP's tokens, or those that the batch has.

    Frames are encoded one after another: all together would not fit at 512 pixels.
    """
    if "latents" in batch:
        stored = (batch["latents"], batch["reference_latents"], batch["clip_tokens"])
        return tuple(x.astype(jnp.float32) for x in stored)  # type: ignore[return-value]
    frames = jnp.swapaxes(batch["frames"], 0, 1)
    keys = jax.random.split(key, len(frames))
    x0 = jax.lax.map(lambda a: model.vae.encode(to_unit(a[0]), a[1]), (frames, keys))
    reference = model.vae.encode(to_unit(batch["reference"]))
    tokens = model.clip(batch["clip_pixels"])
    return jnp.swapaxes(x0, 0, 1), reference, tokens


def _each_frame(conditions: Conditions, frames: int) -> Conditions:
    """Conditions of clips for their frames, each as a sample: `B` becomes `B * F`, `F` is 1."""
    portrait = dataclasses.replace(conditions, motion=None)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, frames, 0), portrait)
    return dataclasses.replace(
        repeated, motion=rearrange(conditions.motion, "b f ... -> (b f) 1 ...")
    )


@dataclasses.dataclass(frozen=True)
class Samples:
    """What networks are shown of a batch: clips or, without motion modules, its frames one by one.

    Attributes:
      x0: scaled latents.
      mask_channels: masked latents and the mask, for networks that take them (3.3).
      masks: M_e and M_f.
      conditions: for each of the networks.
    """

    x0: Float[Array, "B F h w C"]
    mask_channels: Float[Array, "B F h w _"] | None
    masks: Sequence[Float[Array, "B F h w 1"]]
    conditions: Sequence[Conditions]


def samples(
    models: Sequence[Emoji], batch: Batch, keys: Iterator[PRNGKeyArray], cfg: AnimationConfig
) -> Samples:
    """A batch of `pipeline.batches` as the networks are shown it.

    Args:
      models: networks that differ in nothing but their UNets.
      batch: of clips.
      keys: three are taken.
      cfg: which frames are given, and which samples see no portrait.
    """
    model, *_ = models
    motion = model.cfg.unet.motion
    x0, reference, tokens = encode(model, batch, next(keys))
    count, length = x0.shape[:2]
    dropped = jax.random.bernoulli(next(keys), cfg.drop, (count,))
    drop = dropped if cfg.drop else None
    gathered, seen = model.image_prompt.gather(tokens), model.see(batch["landmarks"])
    conditions = [
        dataclasses.replace(one.condition_on(reference, gathered, drop), motion=seen)
        for one in models
    ]
    known = known_frames(next(keys), count, length, cfg, motion=motion)
    masks = [batch[name].astype(jnp.float32) for name in ("expression_mask", "face_mask")]
    if not motion:
        conditions = [_each_frame(one, length) for one in conditions]
        x0, known, *masks = (rearrange(x, "b f ... -> (b f) 1 ...") for x in (x0, known, *masks))
    mask_channels = _mask_channels(x0, known) if model.cfg.masked else None
    return Samples(x0, mask_channels, masks, conditions)


def _mask_channels(x0: Array, known: Array) -> Array:
    mask = jnp.broadcast_to(known[..., None, None, None], (*x0.shape[:-1], 1)).astype(x0.dtype)
    return jnp.concatenate([mask * x0, mask], -1)


def noise(keys: Iterator[PRNGKeyArray], x0: Array, offset: float) -> Array:
    """Noise for latents, a part of it the same all over a sample; two keys are taken."""
    eps = jax.random.normal(next(keys), x0.shape)
    # The same in all frames of a clip: it must not teach motion modules to take out flicker.
    return eps + offset * jax.random.normal(next(keys), (len(x0), 1, 1, 1, x0.shape[-1]))


def loss(
    model: Emoji,
    batch: Batch,
    key: PRNGKeyArray,
    cfg: AnimationConfig,
    schedule: diffusion.Schedule,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """L = L_LDM + L_FFG of a batch of `pipeline.batches` (eq. 2), and what goes into the log.

    Without motion modules (stage 1) frames of a clip share the portrait and nothing else: each has
    its own timestep. With them (stage 2) they are one sample.

    Returns:
      The loss, and metrics: numbers, and `examples`, the loss of each sample of the batch.
    """
    keys = iter(jax.random.split(key, 6))
    shown = samples([model], batch, keys, cfg)
    x0 = shown.x0
    t = jax.random.randint(next(keys), (len(x0),), 0, diffusion.TRAIN_STEPS)
    eps = noise(keys, x0, cfg.noise_offset)
    x_t = jnp.asarray(diffusion.add_noise(schedule, x0, eps, t))
    v = jnp.asarray(diffusion.velocity(schedule, x0, eps, t))
    inputs = x_t if shown.mask_channels is None else jnp.concatenate([x_t, shown.mask_channels], -1)
    predicted = model.unet(inputs, t, shown.conditions[0])
    predicted_x0, _ = diffusion.to_x0_eps(schedule, x_t, predicted, t)
    total, metrics = _terms(predicted, v, x0, jnp.asarray(predicted_x0), shown.masks, cfg)
    if cfg.min_snr:
        total = total * snr_weights(schedule, t, cfg.min_snr)
    examples = total.reshape(len(batch["landmarks"]), -1).mean(1)
    return total.mean(), {"examples": examples, **metrics}


def _terms(
    predicted: Array,
    v: Array,
    x0: Array,
    predicted_x0: Array,
    masks: Sequence[Array],
    cfg: AnimationConfig,
) -> tuple[Float[Array, " B"], dict[str, Array]]:
    expression, face = masks
    ldm = ldm_loss(predicted, v)
    ffg = facial_fine_grained_loss(
        x0, predicted_x0, cfg.expression_mask * expression, cfg.face_mask * face
    )
    squares = {"ldm": jnp.square(predicted - v), "x0": jnp.square(predicted_x0 - x0)}
    regions = {
        f"{term}_{region}": mean
        for term, square in squares.items()
        for region, mean in region_means(square, expression, face).items()
    }
    metrics = {"loss_ldm": ldm.mean(), "loss_ffg": ffg.mean(), **regions}
    return ldm + cfg.ffg * ffg, metrics
