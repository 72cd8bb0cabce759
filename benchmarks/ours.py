"""What `sample.py` measures of emoji_jax: a step of the UNet, or a clip from portrait to frames."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from given import STEP_T, Given, Sampling

from emoji_jax import generate
from emoji_jax.models.unet import Conditions
from emoji_jax.programs import Programs
from emoji_jax.training import flops

# Frames decoded at a time.
DECODED = 4


@dataclasses.dataclass(frozen=True)
class Measured:
    """Something to time.

    Attributes:
      run: makes numbers, and leaves them on the host; the first time it compiles.
      work: arithmetic of its stages.
      stages: seconds of its stages, each waited for; None: there is but one.
    """

    run: Callable[[], np.ndarray]
    work: Callable[[], dict[str, float]]
    stages: Callable[[], dict[str, float]] | None = None


def step(given: Given) -> Measured:
    """One call of the UNet."""
    graph, weights = nnx.split(nnx.merge(given.graph, given.weights).unet)
    tokens = [jnp.asarray(x, given.dtype) for x in given.tokens()]
    project = jax.jit(lambda p, tokens: nnx.merge(graph, p).project_references(tokens))
    references = project(weights, tokens)  # once per portrait, not per step
    x, prompt, motion = map(jnp.asarray, given.step_inputs())
    exact = "highest" if given.dtype == "float32" else "default"

    def call(weights: nnx.State, x: jax.Array, t: jax.Array, conditions: Conditions) -> jax.Array:
        with jax.default_matmul_precision(exact):
            return nnx.merge(graph, weights)(x, t, conditions)

    inputs = weights, x, jnp.array([STEP_T]), Conditions(prompt, references, motion)
    compiled = jax.jit(call)
    return Measured(
        lambda: np.asarray(compiled(*inputs)), lambda: {"step": flops.count(call, *inputs)}
    )


def clip(given: Given, sampling: Sampling) -> Measured:
    """A whole clip."""
    programs = Programs(given.cfg, given.graph, given.weights)
    portrait, pixels, pictures, noise = given.clip_inputs()
    steps, wanted = sampling.steps, sampling.plan

    def denoise(conditions: Conditions) -> np.ndarray:
        return programs.denoise(conditions, pictures, noise, steps, sampling.scale, plan=wanted)[0]

    def decode(latents: np.ndarray) -> np.ndarray:
        starts = range(0, given.frames, DECODED)
        return np.concatenate([programs.decode(latents[i : i + DECODED]) for i in starts])

    def run() -> np.ndarray:
        return decode(denoise(programs.encode(portrait, pixels)))

    def stages() -> dict[str, float]:
        conditions, of_portrait = _timed(lambda: programs.encode(portrait, pixels))
        guided = bool(wanted.guided[0])
        _, of_landmarks = _timed(
            lambda: programs._features(
                programs.parameters, conditions, jnp.asarray(pictures), guided=guided
            )
        )
        latents, both = _timed(lambda: denoise(conditions))
        _, decoding = _timed(lambda: decode(latents))
        return {
            "portrait": of_portrait,
            "landmarks": of_landmarks,
            "denoising": both - of_landmarks,
            "decoding": decoding,
        }

    return Measured(run, lambda: _work(given, sampling), stages)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    made = jax.block_until_ready(function())
    return made, time.perf_counter() - start


def _work(given: Given, sampling: Sampling) -> dict[str, float]:
    """Arithmetic of a clip's stages; steps that are not full count as what they do."""
    wanted, scale = sampling.plan, sampling.scale
    guided = bool(wanted.guided[0])
    portrait, pixels, pictures, noise = given.clip_inputs()
    t, x = jnp.int32(STEP_T), jnp.asarray(noise)

    def of(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
        """Arithmetic, and the shapes of what is made."""

        def call(weights: nnx.State, *arguments: Any) -> Any:
            return function(nnx.merge(given.graph, weights), *arguments)

        given_all = given.weights, *arguments
        return flops.count(call, *given_all), jax.eval_shape(call, *given_all)

    def velocity(model: Any, seen: Conditions, x: jax.Array, *inner: jax.Array) -> Any:
        return generate.guided_velocity(
            *(model, seen, x, None, t, scale),
            guided=guided,
            depth=wanted.depth,
            inner=inner[0] if inner else None,
        )

    told = {}
    told["portrait"], conditions = of(generate.encode, portrait[None], pixels[None])
    told["landmarks"], seen = of(
        lambda *a: generate.features(*a, guided=guided), conditions, pictures
    )
    full, (_, inner) = of(velocity, seen, x)
    told["denoising"] = full * int(wanted.full.sum())
    if wanted.skips:
        told["denoising"] += of(velocity, seen, x, inner)[0] * int((~wanted.full).sum())
    told["decoding"] = of(
        lambda model, latents: generate.decode(model, latents, rounding="nearest"), noise[0]
    )[0]
    return told
