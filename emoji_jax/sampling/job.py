"""A video to make: all that the ways of making a long one share."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax import diffusion
from emoji_jax.models.unet import Conditions
from emoji_jax.plan import Plan
from emoji_jax.programs import Programs

Progress = Callable[[str, int, int], None]
Noise = Callable[[Int[np.ndarray, " N"]], Float[np.ndarray, "N h w C"]]
Item = TypeVar("Item")


@runtime_checkable
class Pictures(Protocol):
    """Landmark pictures, drawn when asked for: `len(pictures)`, `pictures[indices]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W _"]: ...


@dataclasses.dataclass(frozen=True)
class Job:
    """Videos of the same length to make, of one portrait or of several.

    Their frames are numbered through: those of the second portrait follow the first one's.

    Attributes:
      programs: compiled networks.
      conditions: the portraits', one after another.
      pictures: landmarks of each portrait.
      noise: of frames, to begin with.
      steps: of the sampler.
      plan: what is computed at each of them.
      guidance_scale: of classifier-free guidance.
      frames: F, length of a window.
      batch: windows at a time.
      progress: told ("denoising", done, total).
    """

    programs: Programs
    conditions: Conditions
    pictures: Sequence[Pictures]
    noise: Noise
    steps: diffusion.Steps
    plan: Plan
    guidance_scale: float
    frames: int
    batch: int
    progress: Progress

    @property
    def length(self) -> int:
        """Frames of each video."""
        return len(self.pictures[0])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all latents: F h w C."""
        cfg = self.programs.cfg
        height, width = (side // cfg.vae.factor for side in cfg.size)
        return len(self.pictures) * self.length, height, width, cfg.vae.latent_channels

    def of_each(self, windows: Sequence[Item], moved: Callable[[Item, int], Item]) -> list[Item]:
        """The windows of every video, given those of one and how to move them by some frames."""
        starts = [number * self.length for number in range(len(self.pictures))]
        return [moved(window, start) for start in starts for window in windows]

    def seen(self, frames: Int[np.ndarray, "B F"]) -> Conditions:
        """The conditions of windows."""
        portraits = frames[:, 0] // self.length
        return jax.tree.map(lambda x: x[portraits], self.conditions)

    def draw(self, frames: Int[np.ndarray, "B F"]) -> UInt8[np.ndarray, "B F H W _"]:
        """Landmark pictures of windows."""
        numbers = frames[:, 0] // self.length
        return np.stack(
            [
                self.pictures[n][row - n * self.length]
                for n, row in zip(numbers, frames, strict=True)
            ]
        )

    def batches(self, windows: Sequence[Item]) -> Iterator[tuple[list[Item], int]]:
        """Windows by the batch, and how many of it count: the last is filled up with itself.

        So there is one compiled program, and every device has something to do.
        """
        for start in range(0, len(windows), self.batch):
            some = list(windows[start : start + self.batch])
            yield some + [some[-1]] * (self.batch - len(some)), len(some)
