"""Long videos by windows that overlap, step by step, which any checkpoint can do."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from emoji_jax import diffusion
from emoji_jax.disk import chunks
from emoji_jax.plan import REMEMBERED
from emoji_jax.sampling.job import Job
from emoji_jax.sampling.work import Work


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames that are denoised together.

    Attributes:
      frames: their indices.
      weights: what each prediction counts where windows overlap; they need not sum to one.
    """

    frames: Int[np.ndarray, " F"]
    weights: Float[np.ndarray, " F"]

    def moved(self, by: int) -> "Window":
        """The same so many frames later."""
        return Window(self.frames + by, self.weights)


Windows = Callable[[int, int], Sequence[Window]]


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


def denoise(job: Job, windows: Windows, work: Work) -> np.ndarray:
    """All windows of a step, then the step: everything stays on disk but a batch of windows.

    Windows lie elsewhere at every step, and so do the features of their frames: at steps that are
    not full (`plan.Plan`), it is the velocity that is predicted.

    Steps are linear in the prediction, so that averaging predictions is averaging stepped windows.
    """
    steps, every = job.steps, chunks(job.shape[0])
    # In turn: what a step starts from is whole until its result is.
    names = ("x", "before", "older")
    states = [[work.array(f"{name}{turn}", job.shape) for name in names] for turn in "01"]
    total = work.array("total", job.shape)
    if not work.done:
        for frames in every:
            states[0][0][frames] = job.noise(frames)
        work.commit(1)
    kept = [work.array(f"v{n}", job.shape) for n in range(REMEMBERED if job.plan.skips else 0)]
    for i in range(work.done - 1, len(steps)):
        (x, *before), (x_next, *before_next) = states[i % 2], states[(i + 1) % 2]
        # In turn, too: the one that is written now is the oldest.
        newest = int(job.plan.full[: i + 1].sum()) - 1
        recent = [kept[(newest - age) % REMEMBERED] for age in range(len(kept))]
        if job.plan.full[i]:
            some = job.of_each(windows(job.length, i), Window.moved)
            weight = _predict(job, some, i, x, total)
        for frames in every:
            if job.plan.full[i]:
                v = total[frames] / weight[frames, None, None, None]
                for array in recent[:1]:
                    array[frames] = v
            else:
                v = np.tensordot(job.plan.weights[i], [array[frames] for array in recent], 1)
            x_next[frames], found = diffusion.update(
                tuple(steps.rows()[i]), x[frames], v, (before[0][frames], before[1][frames])
            )
            for array, x0 in zip(before_next, found, strict=True):
                array[frames] = x0
        work.commit(i + 2)
        job.progress("denoising", i + 1, len(steps))
    return states[len(steps) % 2][0]


def _predict(
    job: Job, windows: Sequence[Window], step: int, x: np.ndarray, total: np.ndarray
) -> Float[np.ndarray, " F"]:
    """Adds up the windows' velocities in `total`, weighted; returns the sums of their weights."""
    t, scale = int(job.steps.t[step]), job.guidance_scale if job.plan.guided[step] else 1.0
    total[:] = 0
    weight = np.zeros(len(total), np.float32)
    waiting: list[tuple] = []

    def take() -> None:
        some, predicted = waiting.pop(0)
        for window, v in zip(some, np.asarray(predicted), strict=False):
            np.add.at(total, window.frames, window.weights[:, None, None, None] * v)
            np.add.at(weight, window.frames, window.weights)  # some windows wrap round

    for some, count in job.batches(windows):
        frames = np.stack([window.frames for window in some])
        v = job.programs.predict(job.seen(frames), job.draw(frames), x[frames], t, scale)
        # The device works on this batch while the host takes in the one before.
        waiting.append((some[:count], v))
        if len(waiting) > 1:
            take()
    while waiting:
        take()
    return weight
