"""From one portrait and a row of landmark pictures to frames."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from emoji_jax import diffusion
from emoji_jax.models.unet import Conditions
from emoji_jax.programs import Programs, Rounding


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How to sample; what is left open is as the checkpoint has it (`EmojiConfig`).

    Attributes:
      name: key of `diffusion.SAMPLERS`; "" leaves it open.
      steps: S, evaluations of the UNet (each of them twice, for guidance); 0 leaves it open.
      guidance_scale: of classifier-free guidance; 1 switches it off and halves the work; None
        leaves it open.
      frames: F, length of a window; 0 means what the checkpoint was trained with.
      overlap: frames that neighbouring windows of a longer video share.
      decode_batch: frames decoded at a time.
    """

    name: str = ""
    steps: int = 0
    guidance_scale: float | None = None
    frames: int = 0
    overlap: int = 4
    decode_batch: int = 4


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How to sample, with nothing left open."""

    steps: diffusion.Steps
    guidance_scale: float
    frames: int


def _plan(programs: Programs, config: SamplerConfig) -> _Plan:
    cfg, scale = programs.cfg, config.guidance_scale
    sampler = diffusion.SAMPLERS[config.name or cfg.sampler]
    return _Plan(
        sampler(programs.schedule, config.steps or cfg.steps),
        cfg.guidance_scale if scale is None else scale,
        config.frames or cfg.frames,
    )


@runtime_checkable
class Pictures(Protocol):
    """Landmark pictures, drawn when asked for: `len(pictures)`, `pictures[indices]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]: ...


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames that are denoised together.

    Attributes:
      frames: their indices.
      weights: what each prediction counts where windows overlap; they need not sum to one.
    """

    frames: Int[np.ndarray, " F"]
    weights: Float[np.ndarray, " F"]


Windows = Callable[[int, int], Sequence[Window]]
Progress = Callable[[str, int, int], None]


def shifting_windows(length: int, overlap: int) -> Windows:
    """Windows of a video that lie elsewhere at every step, so that no seam stays where it is.

    Args:
      length: frames of a window; a shorter video is one window.
      overlap: frames that neighbours share, less than `length`.

    Returns:
      Function of (number of frames, step) to windows that cover all frames, each of full length.
      A prediction counts less the nearer it is to its window's edge.
    """
    stride = length - overlap

    def windows(count: int, step: int) -> list[Window]:
        size = min(length, count)
        # Multiples of the golden section fall evenly, however many there are.
        shift = round(stride * (step * 0.618034 % 1))
        starts = np.clip(np.arange(-shift, count, stride), 0, count - size)
        weights = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
        return [Window(np.arange(start, start + size), weights) for start in np.unique(starts)]

    return windows


def released_windows(count: int, step: int, length: int = 24) -> list[Window]:
    """The released code's windows: side by side, the last one wrapping round to the start."""
    if count <= length:
        return [Window(np.arange(count), np.ones(count, np.float32))]
    ones = np.ones(length, np.float32)
    starts = range(0, count, length)
    return [Window(np.arange(start, start + length) % count, ones) for start in starts]


_NOISE_BATCH = 64


@functools.partial(jax.jit, static_argnames="shape")
def _noise_batch(key: PRNGKeyArray, frames: Array, shape: tuple[int, ...]) -> Array:
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(frames)
    return jax.vmap(lambda k: jax.random.normal(k, shape))(keys)


def frame_noise(seed: int, count: int, shape: tuple[int, int, int]) -> Float[np.ndarray, "F h w C"]:
    """Noise of each frame from its own key: a frame's is the same in a video of any length."""
    key, noise = jax.random.key(seed), np.empty((count, *shape), np.float32)
    for start in range(0, count, _NOISE_BATCH):
        batch = _noise_batch(key, jnp.arange(start, start + _NOISE_BATCH), shape)
        noise[start : start + _NOISE_BATCH] = np.asarray(batch)[: count - start]
    return noise


def animate(
    programs: Programs,
    conditions: Conditions,
    pictures: Pictures,
    config: SamplerConfig,
    *,
    seed: int,
    windows: Windows | None = None,
    rounding: Rounding = "nearest",
    progress: Progress = lambda what, done, total: None,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Frames of an animated portrait, decoded as they are asked for.

    Args:
      programs: compiled networks.
      conditions: the portrait's, from `Programs.encode`.
      pictures: one landmark picture per frame.
      config: how to sample.
      seed: same seed, same frames.
      windows: for videos longer than a window; by default shifting, overlapping ones.
      rounding: of pixel values; the released code rounds down.
      progress: told ("denoising" or "decoding", done, total).
    """
    latents = denoise(
        programs, conditions, pictures, config, seed=seed, windows=windows, progress=progress
    )
    count, batch = len(latents), min(config.decode_batch, len(latents))
    for start in range(0, count, batch):
        # The last batch is filled up with frames that it has, to need no second program.
        indices = np.minimum(np.arange(start, start + batch), count - 1)
        frames = programs.decode(latents[indices], rounding)
        yield from frames[: count - start]
        progress("decoding", min(start + batch, count), count)


def denoise(
    programs: Programs,
    conditions: Conditions,
    pictures: Pictures,
    config: SamplerConfig,
    *,
    seed: int,
    noise: Float[np.ndarray, "F h w C"] | None = None,
    windows: Windows | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Float[np.ndarray, "F h w C"]:
    """Scaled latents of all frames; arguments as `animate`, and the noise to begin with."""
    cfg, count = programs.cfg, len(pictures)
    plan = _plan(programs, config)
    windows = windows or shifting_windows(plan.frames, min(config.overlap, plan.frames - 1))
    if noise is None:
        height, width = (side // cfg.vae.factor for side in cfg.size)
        noise = frame_noise(seed, count, (height, width, cfg.vae.latent_channels))
    if len(windows(count, 0)) == 1:

        def on_step(done: int) -> None:
            progress("denoising", done, len(plan.steps))

        every = np.arange(count)
        latents = programs.denoise_clip(
            conditions, pictures[every], noise, plan.steps, plan.guidance_scale, on_step=on_step
        )
        return np.asarray(latents)
    return _denoise_windows(programs, conditions, pictures, plan, noise, windows, progress)


def _denoise_windows(
    programs: Programs,
    conditions: Conditions,
    pictures: Pictures,
    plan: _Plan,
    noise: np.ndarray,
    windows: Windows,
    progress: Progress,
) -> np.ndarray:
    """All windows of a step, then the step: latents stay on the host, only windows on the device.

    Steps are linear in the prediction, so that averaging predictions is averaging stepped windows.
    """
    count, steps = len(noise), plan.steps
    x, x0_before = noise, np.zeros_like(noise)
    for i in range(len(steps)):
        total, weight = np.zeros_like(x), np.zeros((count, 1, 1, 1), np.float32)
        # All are sent off before the first is waited for.
        parts = [
            (
                window,
                programs.predict(
                    conditions,
                    pictures[window.frames],
                    x[window.frames],
                    int(steps.t[i]),
                    plan.guidance_scale,
                ),
            )
            for window in windows(count, i)
        ]
        for window, v in parts:
            weights = window.weights[:, None, None, None]
            np.add.at(total, window.frames, weights * np.asarray(v))  # some windows wrap round
            np.add.at(weight, window.frames, weights)
        x, x0_before = diffusion.update(tuple(steps.rows()[i]), x, total / weight, x0_before)
        progress("denoising", i + 1, len(steps))
    return x
