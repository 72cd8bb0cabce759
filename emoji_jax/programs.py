"""The networks compiled for sampling: one program per thing to do and per shape."""

import dataclasses
import functools
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
from emoji_jax.plan import REMEMBERED, Plan
from emoji_jax.plan import plan as make_plan

# Tables of samplers have a multiple of so many rows.
_STEPS = 64
Rounding = Literal["nearest", "down"]
Latents = Float[Array | np.ndarray, "F h w C"]
# Noisy latents, the last two predictions of the clean ones, and what the UNet's lower resolutions
# made in the last full steps, if that is remembered.
State = tuple[Array, tuple[Array, Array], tuple[Array, ...]]
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

        self._merged = functools.partial(nnx.merge, graph)

        def program(function: Callable, divided: int = 0) -> Callable:
            """`divided`: how many of the first arguments have a row for each clip (or frame)."""

            def run(parameters: nnx.State, *args: Any, **static: Any) -> Any:
                def alone(parameters: nnx.State, *args: Any) -> Any:
                    model: Emoji = nnx.merge(graph, parameters)
                    # Left alone, accelerators shorten fp32 numbers in matrix products.
                    exact = not hasattr(model, "unet") or model.unet.compute.dtype == jnp.float32
                    with jax.default_matmul_precision("highest" if exact else "default"):
                        return function(model, *args, **static)

                return self._everywhere(alone, divided, args)(parameters, *args)

            return jax.jit(run, static_argnames=("guided", "rounding", "depth"))

        self._encode = program(_encode)
        self._condition = program(_condition)
        self._reconstruct = program(_reconstruct, 1)
        self._features = program(_features, 2)
        self._clips = program(_denoise_clips, 3)
        self._predict = program(_predict_windows, 3)
        self._decode = program(_decode, 1)

    def _everywhere(self, alone: Callable, divided: int, args: Sequence[Any]) -> Callable:
        """A program that every device runs on its own rows, if they can be divided.

        No clip needs another one. Left to the compiler, guidance, which puts two batches one after
        the other, would move most of what there is between devices at every step
        (docs/scaling.md).
        """
        rows = [len(x) for x in jax.tree.leaves(args[:divided])]
        if self.devices == 1 or not rows or max(rows) % self.devices:
            return alone
        assert self._mesh is not None
        mine, alike = PartitionSpec(self._mesh.axis_names[0]), PartitionSpec()

        def place(number: int, arg: Any) -> Any:
            # What belongs to one portrait is the same for all.
            spread = lambda x: mine if number < divided and len(x) > 1 else alike  # noqa: E731
            return jax.tree.map(lambda x: spread(x) if jnp.ndim(x) else alike, arg)

        places = tuple(place(number, arg) for number, arg in enumerate(args))
        return jax.shard_map(
            alone, mesh=self._mesh, in_specs=(alike, *places), out_specs=mine, check_vma=False
        )

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
        plan: Plan | None = None,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> Float[np.ndarray, "B F h w C"]:
        """Scaled latents of clips, by programs that loop over steps on the device.

        They come up for air about ten times, to say how far it is: telling from inside a program
        would keep it out of the compilation cache.

        Args:
          conditions: each clip's portrait's, or one for all.
          pictures: landmarks of each frame, and for some networks (`EmojiConfig.warped`) the warped
            portrait.
          noise: to begin with.
          steps: of the sampler.
          guidance_scale: 1 for none.
          given: frames that are known already, for networks that take them.
          plan: what is computed at each step; all of it, unless told otherwise.
          on_step: told how many steps are done.
        """
        plan = plan or make_plan(steps.t, guidance=guidance_scale != 1)
        pictures, x = self._spread(pictures), self._spread(noise)
        beside = None if given is None else self._spread(np.concatenate(given, -1))
        table, choices = (
            tuple(map(_padded, arrays))
            for arrays in ((steps.t, steps.rows()), (plan.full, plan.weights))
        )
        state: State = (x, (jnp.zeros_like(x),) * 2, ())
        depth, before = (plan.depth if plan.skips else None), None
        for guided, first, last in plan.spans():
            if guided != before:
                seen = self._features(self.parameters, conditions, pictures, guided=guided)
                inner = self._inner(seen, x, depth)
                state, before = (*state[:2], inner), guided
            state = self._clips(
                self.parameters,
                seen,
                state,
                beside,
                (first, last),
                table,
                choices,
                guidance_scale,
                guided=guided,
                depth=depth,
            )
            state[0].block_until_ready()
            on_step(last)
        return np.asarray(state[0])

    def _inner(self, conditions: Conditions, x: Array, depth: int | None) -> tuple[Array, ...]:
        """Room for what the lower resolutions make in three steps, if that is to be remembered."""
        if depth is None:
            return ()
        batch = len(conditions.tokens)
        of = jax.eval_shape(
            lambda p: self._merged(p).unet.with_inner(
                jnp.zeros((batch, *x.shape[1:-1], self.cfg.unet.in_channels)),
                jnp.zeros(batch, jnp.int32),
                conditions,
                depth,
            ),
            self.parameters,
        )[1]
        # Where what takes its place will be: placed elsewhere, it would be a program of its own.
        return (self._spread(jnp.zeros(of.shape, of.dtype)),) * REMEMBERED

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


def _padded(rows: np.ndarray) -> Array:
    """A sampler's table with room for more steps: one program for any number of them."""
    room = -len(rows) % _STEPS
    return jnp.asarray(np.pad(rows, ((0, room), *((0, 0),) * (rows.ndim - 1))))


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
    depth: int = 0,
    inner: Array | None = None,
) -> tuple[Array, Array]:
    """The velocity, and what the UNet's lower resolutions made of it (or were told to have)."""
    if model.cfg.masked:
        if beside is None:  # nothing is known
            beside = jnp.zeros((*x.shape[:-1], model.cfg.unet.in_channels - x.shape[-1]), x.dtype)
        x = jnp.concatenate([x, beside], -1)
    x = jnp.concatenate([x, x]) if guided else x
    v, inner = model.unet.with_inner(x, jnp.broadcast_to(t, len(x)), conditions, depth, inner)
    if guided:
        unconditional, conditional = jnp.split(v, 2)
        v = jnp.asarray(diffusion.guide(unconditional, conditional, scale))
    return v, inner


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
    return _guided_velocity(model, conditions, x, None, t, scale, guided=guided)[0]


def _denoise_clips(
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
    timesteps, rows = table
    full, weights = choices

    def step(i: Array, state: State) -> State:
        x, before, inners = state

        def run(inner: Array | None) -> tuple[Array, Array]:
            return _guided_velocity(
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


def _decode(model: Emoji | Encoders, latents: Array, *, rounding: Rounding) -> tuple[Array, Array]:
    """Frames, and whether they are of numbers."""
    decoded = model.vae.decode(latents)
    pictures = jnp.clip(decoded / 2 + 0.5, 0, 1) * 255
    pictures = jnp.round(pictures) if rounding == "nearest" else pictures
    return pictures.astype(jnp.uint8), jnp.isfinite(decoded).all()[None]


def _numbers(frames: Array, finite: Array) -> np.ndarray:
    if not np.asarray(finite).all():
        raise UserError(
            "the networks give no numbers (NaN): the weights are damaged, or too large for "
            "dtype=float16; expected bfloat16 or float32"
        )
    return np.asarray(frames)
