"""A video to make: all that the ways of making a long one share."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax import diffusion
from emoji_jax.models.unet import Conditions
from emoji_jax.programs import Programs

Progress = Callable[[str, int, int], None]
Noise = Callable[[Int[np.ndarray, " N"]], Float[np.ndarray, "N h w C"]]
Item = TypeVar("Item")


@runtime_checkable
class Pictures(Protocol):
    """Landmark pictures, drawn when asked for: `len(pictures)`, `pictures[indices]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]: ...


@dataclasses.dataclass(frozen=True)
class Job:
    """A video to make.

    Attributes:
      programs: compiled networks.
      conditions: the portrait's.
      pictures: one landmark picture per frame.
      noise: of frames, to begin with.
      steps: of the sampler.
      guidance_scale: of classifier-free guidance.
      frames: F, length of a window.
      batch: windows at a time.
      progress: told ("denoising", done, total).
    """

    programs: Programs
    conditions: Conditions
    pictures: Pictures
    noise: Noise
    steps: diffusion.Steps
    guidance_scale: float
    frames: int
    batch: int
    progress: Progress

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all latents: F h w C."""
        cfg = self.programs.cfg
        height, width = (side // cfg.vae.factor for side in cfg.size)
        return len(self.pictures), height, width, cfg.vae.latent_channels

    def draw(self, frames: Int[np.ndarray, "B F"]) -> UInt8[np.ndarray, "B F H W 3"]:
        """Landmark pictures of windows."""
        pictures = self.pictures[frames.ravel()]
        return pictures.reshape(*frames.shape, *pictures.shape[1:])

    def batches(self, windows: Sequence[Item]) -> Iterator[tuple[list[Item], int]]:
        """Windows by the batch, and how many of it count: the last is filled up with itself.

        So there is one compiled program, and every device has something to do.
        """
        for start in range(0, len(windows), self.batch):
            some = list(windows[start : start + self.batch])
            yield some + [some[-1]] * (self.batch - len(some)), len(some)
