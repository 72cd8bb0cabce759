"""The networks compiled for sampling: one program per thing to do and per shape."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from emoji_jax import diffusion, generate
from emoji_jax.errors import UserError
from emoji_jax.generate import Rounding, State
from emoji_jax.models.emoji import Emoji, EmojiConfig
from emoji_jax.models.unet import Conditions
from emoji_jax.plan import REMEMBERED, Plan
from emoji_jax.plan import plan as make_plan

# Tables of samplers have a multiple of so many rows.
_STEPS = 64
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
        self._inners: dict[tuple[Any, ...], jax.ShapeDtypeStruct] = {}

        self._merged = functools.partial(nnx.merge, graph)

        def program(
            function: Callable, divided: int = 0, clips: int = 0, precision: str = "high"
        ) -> Callable:
            """The program of a function of a model and arguments.

            Args:
              function: what it does.
              divided: how many of the first arguments have rows for clips (or frames).
              clips: which of them has one for each: others have one for all, or two for each.
              precision: of matrix products of fp32 numbers, where the UNet computes in fewer
                digits; the autoencoder bands with "default".
            """

            def run(parameters: nnx.State, *args: Any, **static: Any) -> Any:
                def alone(parameters: nnx.State, *args: Any) -> Any:
                    model: Emoji = nnx.merge(graph, parameters)
                    # Left alone, accelerators shorten fp32 numbers in matrix products.
                    exact = not hasattr(model, "unet") or model.unet.compute.dtype == jnp.float32
                    with jax.default_matmul_precision("highest" if exact else precision):
                        return function(model, *args, **static)

                rows = len(jax.tree.leaves(args[clips])[0]) if divided else 0
                return self._everywhere(alone, divided, rows, args)(parameters, *args)

            return jax.jit(run, static_argnames=("guided", "rounding", "depth"))

        self._encode = program(generate.encode)
        self._condition = program(generate.condition)
        self._reconstruct = program(generate.reconstruct, 1)
        self._features = program(generate.features, 2, 1, "default")
        self._clips = program(generate.denoise_clips, 3, 1, "default")
        self._predict = program(generate.predict_windows, 3, 1, "default")
        self._decode = program(generate.decode, 1)

    def _everywhere(
        self, alone: Callable, divided: int, rows: int, args: Sequence[Any]
    ) -> Callable:
        """A program that every device runs on its own of so many rows, if they can be divided.

        No clip needs another one. Left to the compiler, guidance, which puts two batches one after
        the other, would move most of what there is between devices at every step
        (docs/scaling.md).
        """
        if self.devices == 1 or not rows or rows % self.devices:
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
        drawn, x = self._spread(pictures), self._spread(noise)
        mask_channels = None if given is None else self._spread(np.concatenate(given, -1))
        table, choices = (
            tuple(map(_padded, arrays))
            for arrays in ((steps.t, steps.rows()), (plan.full, plan.weights))
        )
        state: State = (x, (jnp.zeros_like(x), jnp.zeros_like(x)), ())
        depth, before = (plan.depth if plan.skips else None), None
        for guided, first, last in plan.spans():
            if guided != before:
                seen = self._features(self.parameters, conditions, drawn, guided=guided)
                inner = self._inner(seen, x, depth)
                state, before = (*state[:2], inner), guided
            state = self._clips(
                self.parameters,
                seen,
                state,
                mask_channels,
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
        # To find out, all of the UNet is traced, which takes a second of large ones.
        known = (depth, x.shape, *(leaf.shape for leaf in jax.tree.leaves(conditions)))
        if known not in self._inners:
            self._inners[known] = jax.eval_shape(
                lambda p: self._merged(p).unet.with_inner(
                    jnp.zeros((batch, *x.shape[1:-1], self.cfg.unet.in_channels)),
                    jnp.zeros(batch, jnp.int32),
                    conditions,
                    depth,
                ),
                self.parameters,
            )[1]
        of = self._inners[known]
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


def _numbers(frames: Array, finite: Array) -> np.ndarray:
    if not np.asarray(finite).all():
        raise UserError(
            "the networks give no numbers (NaN): the weights are damaged, or too large for "
            "dtype=float16; expected bfloat16 or float32"
        )
    return np.asarray(frames)
