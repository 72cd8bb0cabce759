"""From one portrait and a row of landmark pictures to frames."""

import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from emoji_jax import diffusion
from emoji_jax.disk import CHUNK
from emoji_jax.models.unet import Conditions
from emoji_jax.plan import CACHES, plan
from emoji_jax.programs import Programs, Rounding
from emoji_jax.sampling import overlap, progressive
from emoji_jax.sampling.config import SamplerConfig, check
from emoji_jax.sampling.job import Job, Pictures, Progress
from emoji_jax.sampling.overlap import Window, Windows, released_windows, shifting_windows
from emoji_jax.sampling.work import Work

__all__ = [
    "Pictures",
    "SamplerConfig",
    "Window",
    "Windows",
    "Work",
    "animate",
    "check",
    "decode",
    "denoise",
    "frame_noise",
    "released_windows",
    "shifting_windows",
]


@functools.partial(jax.jit, static_argnames="shape")
def _noise_batch(key: PRNGKeyArray, frames: Array, shape: tuple[int, ...]) -> Array:
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(frames)
    return jax.vmap(lambda k: jax.random.normal(k, shape))(keys)


def frame_noise(
    seed: int, frames: Int[np.ndarray, " N"], shape: tuple[int, ...]
) -> Float[np.ndarray, "N h w C"]:
    """Noise of each frame from its own key: a frame's is the same in a video of any length."""
    key, noise = jax.random.key(seed), np.empty((len(frames), *shape), np.float32)
    for start in range(0, len(frames), CHUNK):
        some = frames[start : start + CHUNK]
        # To a power of two: no program of its own for every number of frames.
        padded = np.resize(some, 1 << (len(some) - 1).bit_length())
        noise[start : start + CHUNK] = np.asarray(_noise_batch(key, padded, shape))[: len(some)]
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
    work: Work | None = None,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Frames of one animated portrait; arguments as `denoise` and `decode`."""
    (latents,) = denoise(
        programs,
        conditions,
        [pictures],
        config,
        seed=seed,
        windows=windows,
        progress=progress,
        work=work,
    )
    yield from decode(programs, latents, config, rounding=rounding, progress=progress)


def decode(
    programs: Programs,
    latents: Float[np.ndarray, "F h w C"],
    config: SamplerConfig,
    *,
    rounding: Rounding = "nearest",
    progress: Progress = lambda what, done, total: None,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Frames of scaled latents, made as they are asked for; arguments as `denoise`.

    `rounding` is of pixel values; the released code rounds down.
    """
    count = len(latents)
    batch = min(config.decode_batch, count) * programs.devices
    for start in range(0, count, batch):
        # The last batch is filled up with frames that it has, to need no second program.
        indices = np.minimum(np.arange(start, start + batch), count - 1)
        frames = programs.decode(latents[indices], rounding)
        yield from frames[: count - start]
        progress("decoding", min(start + batch, count), count)


def denoise(
    programs: Programs,
    conditions: Conditions,
    pictures: Sequence[Pictures],
    config: SamplerConfig,
    *,
    seed: int,
    noise: Float[np.ndarray, "F h w C"] | None = None,
    windows: Windows | None = None,
    progress: Progress = lambda what, done, total: None,
    work: Work | None = None,
) -> Float[np.ndarray, "P F h w C"]:
    """Scaled latents of one or several portraits' videos, all of the same length.

    Args:
      programs: compiled networks.
      conditions: the portraits', as `Programs.encode` makes them of one.
      pictures: for each portrait, one landmark picture per frame.
      config: how to sample.
      seed: same seed, same frames; every portrait has the same noise.
      noise: to begin with, instead of the seed's.
      windows: for videos longer than a window, other ones than shifting, overlapping ones.
      progress: told ("denoising", done, total).
      work: what is done of it already, to go on with; nothing, unless given.

    Raises:
      UserError: settings that can't work with these networks.
    """
    cfg, work = programs.cfg, work or Work()
    check(config, cfg)
    sampler = diffusion.SAMPLERS[config.name or cfg.sampler]
    steps = sampler(programs.schedule, config.steps or cfg.steps)
    scale = cfg.guidance_scale if config.guidance_scale is None else config.guidance_scale
    length = len(pictures[0])

    def noise_of(frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N h w C"]:
        own = frames % length
        return frame_noise(seed, own, job.shape[1:]) if noise is None else noise[own]

    job = Job(
        programs,
        conditions,
        pictures,
        noise_of,
        steps,
        plan(
            steps.t,
            guidance=scale != 1,
            interval=config.guidance_interval,
            cache=CACHES[config.cache],
        ),
        scale,
        config.frames or cfg.frames,
        config.together(programs.devices),
        progress,
    )
    # A stretch has two known ends and something in between.
    able = cfg.masked and job.frames > 2
    known = able if config.long_video == "" else config.long_video == "progressive"
    windows_of = windows or shifting_windows(job.frames, min(config.overlap, job.frames - 1))
    if windows is None and known and length > job.frames:
        latents = progressive.denoise(job, work)
    elif len(windows_of(length, 0)) > 1:
        latents = overlap.denoise(job, windows_of, work)
    else:
        latents = _denoise_at_once(job)
    return latents.reshape(len(pictures), length, *latents.shape[1:])


def _denoise_at_once(job: Job) -> np.ndarray:
    """Of videos that are one window each."""
    every = np.arange(job.length)[None]
    clips = job.of_each(list(every), lambda frames, by: frames + by)
    made, total = [], -(-len(clips) // job.batch) * len(job.steps)
    for number, (some, count) in enumerate(job.batches(clips)):
        frames, before = np.stack(some), number * len(job.steps)
        noise = job.noise(frames.ravel()).reshape(*frames.shape, *job.shape[1:])
        latents = job.programs.denoise(
            job.seen(frames),
            job.draw(frames),
            noise,
            job.steps,
            job.guidance_scale,
            plan=job.plan,
            on_step=lambda done, before=before: job.progress("denoising", before + done, total),
        )
        made += list(latents[:count])
    return np.concatenate(made)
