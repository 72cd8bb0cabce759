"""Long videos by the progressive strategy (arXiv 2406.01900, section 3.3): coarse to fine.

Frames spread over the whole video come first, then those between them, level by level, each level
given the frames that are there already. No frame is made twice and none is averaged, so that there
is no seam anywhere, and the far ends of a video know of each other. It takes networks that were
trained with known frames (`EmojiConfig.masked`).
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Bool, Int

from emoji_jax.sampling.job import Job
from emoji_jax.sampling.work import Work


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Frames that are denoised together, in order, and which of them are known already."""

    frames: Int[np.ndarray, " F"]
    known: Bool[np.ndarray, " F"]

    def moved(self, by: int) -> "Stretch":
        """The same so many frames later."""
        return Stretch(self.frames + by, self.known)


def levels(count: int, length: int) -> list[list[Stretch]]:
    """Which frames are made when.

    First `length` frames, evenly over the video. Then, as long as there are gaps, every gap gets
    as many frames as it needs to fall apart into equal ones that `length` frames can fill, or such
    gaps in turn; so that at the last level, which has most of the frames, hardly a place is wasted.

    Args:
      count: frames of the video.
      length: F, at least 3; every stretch has as many, the last place repeated where a gap has
        fewer. A video that is no longer is one stretch of its own length.

    Returns:
      For each level stretches that do not depend on each other. Every frame is unknown in exactly
      one of all. In the later levels, both ends of every gap are known.
    """
    if count <= length:
        return [[Stretch(np.arange(count), np.zeros(count, bool))]]
    made = np.round(np.linspace(0, count - 1, length)).astype(int)
    found = [[Stretch(made, np.zeros(length, bool))]]
    while len(made) < count:
        widest, step = int(np.diff(made).max()), 1
        while step * (length - 1) < widest:
            step *= length - 1
        gaps = [
            np.round(np.linspace(a, b, -(-(b - a) // step) + 1)).astype(int)
            for a, b in itertools.pairwise(made)
        ]
        found.append(_pack(gaps, length))
        made = np.unique(np.concatenate(gaps))
    return found


def _pack(gaps: list[np.ndarray], length: int) -> list[Stretch]:
    """Neighbouring gaps, with their known ends, in as few stretches as can be."""
    runs: list[list[np.ndarray]] = []
    for gap in gaps:
        if len(gap) == 2:  # nothing in between
            continue
        last = runs[-1] if runs else []
        used = sum(len(g) - 1 for g in last) + 1
        if last and last[-1][-1] == gap[0] and used + len(gap) - 1 <= length:
            last.append(gap)
        else:
            runs.append([gap])
    stretches = []
    for run in runs:
        frames = np.concatenate([run[0][:1], *(gap[1:] for gap in run)])
        known = np.isin(frames, [end for gap in run for end in (gap[0], gap[-1])])
        missing = (0, length - len(frames))
        stretches.append(Stretch(np.pad(frames, missing, "edge"), np.pad(known, missing, "edge")))
    return stretches


def denoise(job: Job, work: Work) -> np.ndarray:
    """Scaled latents of all frames; goes on where the work left off."""
    latents = work.array("latents", job.shape)
    every = [job.of_each(level, Stretch.moved) for level in levels(job.length, job.frames)]
    total, before = sum(map(len, every)), 0
    for level in every:
        # Done is counted in stretches: it may be gone on with by batches of another size.
        left = level[max(work.done - before, 0) :]
        for stretches, count in job.batches(left):
            frames = np.stack([s.frames for s in stretches])
            known = np.stack([s.known for s in stretches])
            made = _fill(job, latents[frames], frames, known)
            for one in range(count):
                new = ~known[one]
                latents[frames[one][new]] = made[one][new]
            work.commit(work.done + count)
            job.progress("denoising", work.done, total)
        before += len(level)
    return latents


def _fill(job: Job, latents: np.ndarray, frames: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Latents of stretches [B F h w C], of which some frames are known."""
    mask = np.broadcast_to(known[..., None, None, None], (*latents.shape[:-1], 1))
    noise = job.noise(frames.ravel()).reshape(latents.shape)
    return job.programs.denoise(
        job.seen(frames),
        job.draw(frames),
        noise,
        job.steps,
        job.guidance_scale,
        (np.where(mask, latents, 0), mask.astype(np.float32)),
        job.plan,
    )
