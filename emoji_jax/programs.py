"""The networks compiled for sampling: one program per thing to do and per shape."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from emoji_jax import diffusion
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import Emoji, EmojiConfig, Encoders
from emoji_jax.models.unet import Conditions

Rounding = Literal["nearest", "down"]
Latents = Float[Array | np.ndarray, "F h w C"]
# Latents of the frames that are known, zero elsewhere, and one where they are.
Given = tuple[Float[np.ndarray, "B F h w C"], Float[np.ndarray, "B F h w 1"]]


class Programs:
    """The networks compiled for sampling; each program is compiled once per shape.

    Args:
      cfg: configuration.
      graph: as `checkpoint.load` returns it.
      parameters: likewise.
      mesh: devices, along one axis, that share the clips of a batch; each gets all parameters.
        None leaves everything where it is.
    """

    def __init__(
        self,
        cfg: EmojiConfig,
        graph: nnx.GraphDef,
        parameters: nnx.State,
        mesh: Mesh | None = None,
    ):
        self.cfg, self.parameters, self._mesh = cfg, parameters, mesh
        if mesh is not None:
            self.parameters = jax.device_put(parameters, NamedSharding(mesh, PartitionSpec()))
        self.schedule = diffusion.schedule()

        def program(function: Callable) -> Callable:
            def run(parameters: nnx.State, *args: Any, **static: Any) -> Any:
                model: Emoji = nnx.merge(graph, parameters)
                # Left alone, accelerators shorten fp32 numbers in matrix products.
                exact = not hasattr(model, "unet") or model.unet.compute.dtype == jnp.float32
                with jax.default_matmul_precision("highest" if exact else "default"):
                    return function(model, *args, **static)

            return jax.jit(run, static_argnames=("guided", "rounding"))

        self._encode = program(_encode)
        self._condition = program(_condition)
        self._reconstruct = program(_reconstruct)
        self._features = program(_features)
        self._clips = program(_denoise_clips)
        self._predict = program(_predict_windows)
        self._decode = program(_decode)

    def encode(
        self,
        reference: Float[np.ndarray, "H W 3"],
        clip_pixels: Float[np.ndarray, "P P 3"],
    ) -> Conditions:
        """Everything the portrait contributes, once per portrait.

        Args:
          reference: portrait in [-1, 1].
          clip_pixels: the same as CLIP's processor makes it.
        """
        return self._encode(self.parameters, reference[None], clip_pixels[None])

    def condition(
        self, latents: Float[np.ndarray, "h w C"], clip_tokens: Float[np.ndarray, "N D"]
    ) -> Conditions:
        """As `encode`, of a portrait's scaled latents and CLIP tokens."""
        return self._condition(self.parameters, latents[None], clip_tokens[None])

    def reconstruct(self, pictures: Float[np.ndarray, "F H W 3"]) -> UInt8[np.ndarray, "F H W 3"]:
        """What the autoencoder makes of pictures in [-1, 1]."""
        return _numbers(*self._reconstruct(self.parameters, self._spread(pictures)))

    def denoise(
        self,
        conditions: Conditions,
        pictures: UInt8[np.ndarray, "B F H W _"],
        noise: Float[np.ndarray, "B F h w C"],
        steps: diffusion.Steps,
        guidance_scale: float,
        given: Given | None = None,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> Float[np.ndarray, "B F h w C"]:
        """Scaled latents of clips, by one program that loops over steps on the device.

        It comes up for air about ten times, to say how far it is: telling from inside the program
        would keep it out of the compilation cache.

        Args:
          conditions: each clip's portrait's, or one for all.
          pictures: landmarks of each frame, and for some networks (`EmojiConfig.warped`) the warped
            portrait.
          noise: to begin with.
          steps: of the sampler.
          guidance_scale: 1 for none.
          given: frames that are known already, for networks that take them.
          on_step: told how many steps are done.
        """
        guided = guidance_scale != 1
        pictures, x = self._spread(pictures), self._spread(noise)
        beside = None if given is None else self._spread(np.concatenate(given, -1))
        conditions = self._features(self.parameters, conditions, pictures, guided=guided)
        timesteps, table = jnp.asarray(steps.t), jnp.asarray(steps.rows())
        x0_before = jnp.zeros_like(x)
        stops = np.unique(np.linspace(0, len(steps), min(len(steps), 10) + 1).astype(np.int32))
        for first, last in itertools.pairwise(stops):
            x, x0_before = self._clips(
                self.parameters,
                conditions,
                (x, x0_before),
                beside,
                (first, last),
                timesteps,
                table,
                guidance_scale,
                guided=guided,
            )
            x.block_until_ready()
            on_step(int(last))
        return np.asarray(x)

    def predict(
        self,
        conditions: Conditions,
        pictures: UInt8[np.ndarray, "B F H W _"],
        x: Float[np.ndarray, "B F h w C"],
        t: int,
        guidance_scale: float,
    ) -> Float[Array, "B F h w C"]:
        """The guided velocity of windows at one step; returns before it is computed."""
        return self._predict(
            self.parameters,
            conditions,
            self._spread(pictures),
            self._spread(x),
            jnp.int32(t),
            guidance_scale,
            guided=guidance_scale != 1,
        )

    def decode(
        self, latents: Latents, rounding: Rounding = "nearest"
    ) -> UInt8[np.ndarray, "F H W 3"]:
        """Frames of scaled latents.

        Raises:
          UserError: there are none: something on the way was not a number.
        """
        made = self._decode(self.parameters, self._spread(latents), rounding=rounding)
        return _numbers(*made)

    @property
    def devices(self) -> int:
        """How many share a batch."""
        return 1 if self._mesh is None else self._mesh.size

    def _spread(self, batch: Array | np.ndarray) -> Array:
        """Puts a batch on the devices, each an equal part of it if it can be divided."""
        if self._mesh is None:
            return jnp.asarray(batch)
        divides = len(batch) % self._mesh.size == 0
        spec = PartitionSpec(self._mesh.axis_names[0]) if divides else PartitionSpec()
        return jax.device_put(batch, NamedSharding(self._mesh, spec))


def together(conditions: Sequence[Conditions]) -> Conditions:
    """Those of several portraits as one, one after another."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *conditions)


def _encode(model: Emoji, reference: Array, clip_pixels: Array) -> Conditions:
    return model.condition(reference, clip_pixels)


def _condition(model: Emoji, latents: Array, clip_tokens: Array) -> Conditions:
    tokens = model.image_prompt.gather(clip_tokens.astype(jnp.float32))
    return model.condition_on(latents.astype(jnp.float32), tokens)


def _reconstruct(model: Emoji | Encoders, pictures: Array) -> tuple[Array, Array]:
    return _decode(model, model.vae.encode(pictures), rounding="nearest")


def _features(model: Emoji, conditions: Conditions, pictures: Array, *, guided: bool) -> Conditions:
    """Conditions for clips with these landmarks; twice, if there is guidance."""
    motion = model.see(pictures)
    alike = jax.tree.map(lambda x: jnp.repeat(x, len(pictures) // len(x), 0), conditions)
    conditions = dataclasses.replace(alike, motion=motion)
    return model.with_unconditional(conditions) if guided else conditions


def _guided_velocity(
    model: Emoji,
    conditions: Conditions,
    x: Array,
    beside: Array | None,
    t: Array,
    scale: Array,
    *,
    guided: bool,
) -> Array:
    if model.cfg.masked:
        if beside is None:  # nothing is known
            beside = jnp.zeros((*x.shape[:-1], model.cfg.unet.in_channels - x.shape[-1]), x.dtype)
        x = jnp.concatenate([x, beside], -1)
    if not guided:
        return model.unet(x, jnp.broadcast_to(t, len(x)), conditions)
    twice = jnp.concatenate([x, x])
    both = model.unet(twice, jnp.broadcast_to(t, len(twice)), conditions)
    unconditional, conditional = jnp.split(both, 2)
    return jnp.asarray(diffusion.guide(unconditional, conditional, scale))


def _predict_windows(
    model: Emoji,
    conditions: Conditions,
    pictures: Array,
    x: Array,
    t: Array,
    scale: Array,
    *,
    guided: bool,
) -> Array:
    conditions = _features(model, conditions, pictures, guided=guided)
    return _guided_velocity(model, conditions, x, None, t, scale, guided=guided)


def _denoise_clips(
    model: Emoji,
    conditions: Conditions,
    state: tuple[Array, Array],
    beside: Array | None,
    span: tuple[Array, Array],
    timesteps: Array,
    table: Array,
    scale: Array,
    *,
    guided: bool,
) -> tuple[Array, Array]:
    def step(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        x, x0_before = state
        v = _guided_velocity(model, conditions, x, beside, timesteps[i], scale, guided=guided)
        return diffusion.update(tuple(table[i]), x, v, x0_before)

    return jax.lax.fori_loop(*span, step, state)


def _decode(model: Emoji | Encoders, latents: Array, *, rounding: Rounding) -> tuple[Array, Array]:
    """Frames, and whether they are of numbers."""
    decoded = model.vae.decode(latents)
    pictures = jnp.clip(decoded / 2 + 0.5, 0, 1) * 255
    pictures = jnp.round(pictures) if rounding == "nearest" else pictures
    return pictures.astype(jnp.uint8), jnp.isfinite(decoded).all()


def _numbers(frames: Array, finite: Array) -> np.ndarray:
    if not finite:
        raise UserError(
            "the networks give no numbers (NaN): the weights are damaged, or too large for "
            "dtype=float16; expected bfloat16 or float32"
        )
    return np.asarray(frames)
