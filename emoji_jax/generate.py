"""What the networks are asked for when something is generated: functions of a model and arrays."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from emoji_jax import diffusion
from emoji_jax.models.emoji import Emoji, Encoders
from emoji_jax.models.unet import Conditions

Rounding = Literal["nearest", "down"]
# Noisy latents, the last two predictions of the clean ones, and what the UNet's lower resolutions
# made in the last full steps, if that is remembered.
State = tuple[Array, tuple[Array, Array], tuple[Array, ...]]


def encode(model: Emoji, reference: Array, clip_pixels: Array) -> Conditions:
    """Everything that portraits contribute."""
    return model.condition(reference, clip_pixels)


def condition(model: Emoji, latents: Array, clip_tokens: Array) -> Conditions:
    """As `encode`, of scaled latents and CLIP tokens."""
    tokens = model.image_prompt.gather(clip_tokens.astype(jnp.float32))
    return model.condition_on(latents.astype(jnp.float32), tokens)


def reconstruct(model: Emoji | Encoders, pictures: Array) -> tuple[Array, Array]:
    """What the autoencoder makes of pictures; as `decode`."""
    return decode(model, model.vae.encode(pictures), rounding="nearest")


def features(model: Emoji, conditions: Conditions, pictures: Array, *, guided: bool) -> Conditions:
    """Conditions for clips with these landmarks; twice, if there is guidance."""
    motion = model.see(pictures)
    alike = jax.tree.map(lambda x: jnp.repeat(x, len(pictures) // len(x), 0), conditions)
    conditions = dataclasses.replace(alike, motion=motion)
    return model.with_unconditional(conditions) if guided else conditions


def guided_velocity(
    model: Emoji,
    conditions: Conditions,
    x: Array,
    beside: Array | None,
    t: Array,
    scale: Array,
    *,
    guided: bool,
    depth: int = 0,
    inner: Array | None = None,
) -> tuple[Array, Array]:
    """The velocity, and what the UNet's lower resolutions made of it (or were told to have)."""
    if model.cfg.masked:
        if beside is None:  # nothing is known
            beside = jnp.zeros((*x.shape[:-1], model.cfg.unet.in_channels - x.shape[-1]), x.dtype)
        x = jnp.concatenate([x, beside], -1)
    t = jnp.broadcast_to(t, len(x))
    x, t = (jnp.concatenate([x, x]), jnp.concatenate([t, t])) if guided else (x, t)
    v, inner = model.unet.with_inner(x, t, conditions, depth, inner)
    if guided:
        unconditional, conditional = jnp.split(v, 2)
        v = jnp.asarray(diffusion.guide(unconditional, conditional, scale))
    return v, inner


def predict_windows(
    model: Emoji,
    conditions: Conditions,
    pictures: Array,
    x: Array,
    t: Array,
    scale: Array,
    *,
    guided: bool,
) -> Array:
    """The guided velocity of windows at one step."""
    conditions = features(model, conditions, pictures, guided=guided)
    return guided_velocity(model, conditions, x, None, t, scale, guided=guided)[0]


def denoise_clips(
    model: Emoji,
    conditions: Conditions,
    state: State,
    beside: Array | None,
    span: tuple[Array, Array],
    table: tuple[Array, Array],
    choices: tuple[Array, Array],
    scale: Array,
    *,
    guided: bool,
    depth: int | None,
) -> State:
    """A span of a sampler's steps, in one loop; see `Programs.denoise`."""
    timesteps, rows = table
    full, weights = choices

    def step(i: Array, state: State) -> State:
        x, before, inners = state

        def run(inner: Array | None) -> tuple[Array, Array]:
            return guided_velocity(
                *(model, conditions, x, beside, timesteps[i], scale),
                guided=guided,
                depth=depth or 0,
                inner=inner,
            )

        def anew() -> tuple[Array, tuple[Array, ...]]:
            v, inner = run(None)
            return v, (inner, *inners[:-1]) if inners else ()

        def predicted() -> tuple[Array, tuple[Array, ...]]:
            parts = [w * x.astype(jnp.float32) for w, x in zip(weights[i], inners, strict=True)]
            return run(sum(parts[1:], parts[0]).astype(inners[0].dtype))[0], inners

        v, inners = jax.lax.cond(full[i], anew, predicted) if inners else anew()
        return (*diffusion.update(tuple(rows[i]), x, v, before), inners)

    return jax.lax.fori_loop(*span, step, state)


def decode(model: Emoji | Encoders, latents: Array, *, rounding: Rounding) -> tuple[Array, Array]:
    """Frames, and whether they are of numbers."""
    decoded = model.vae.decode(latents)
    pictures = jnp.clip(decoded / 2 + 0.5, 0, 1) * 255
    pictures = jnp.round(pictures) if rounding == "nearest" else pictures
    return pictures.astype(jnp.uint8), jnp.isfinite(decoded).all()[None]
