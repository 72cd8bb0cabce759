"""What the networks see of a motion: pictures of landmarks, and the portrait moved with them."""

import dataclasses
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax.images import Picture
from emoji_jax.landmarks import PUPIL_RADIUS, draw, warp
from emoji_jax.models.emoji import EmojiConfig


@runtime_checkable
class Points(Protocol):
    """Landmarks in pixels, computed when asked for: `points[frames]`, `len(points)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 2"]: ...


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Landmark pictures that are drawn when asked for, so that a long video takes no memory.

    Of networks that want it, they have three more channels: the portrait, warped.
    """

    points: Points
    size: tuple[int, int]
    compat: Literal["release"] | None = None
    pupils: bool = True
    contour: bool = False
    antialiased: bool = False
    first: int = 0
    portrait: tuple[Picture, Float[np.ndarray, "478 2"]] | None = None
    warped: bool = False

    @classmethod
    def to_fit(
        cls,
        cfg: EmojiConfig,
        points: Points,
        portrait: tuple[Picture, Float[np.ndarray, "478 2"]],
        compat: Literal["release"] | None = None,
    ) -> "Drawn":
        """As networks of this configuration are used to see them.

        Args:
          cfg: of the networks.
          points: where the landmarks shall be.
          portrait: the picture, at the networks' size, and where its own are.
          compat: as the released code draws, and leaves out the first frame.
        """
        return cls(
            points,
            cfg.size,
            compat,
            cfg.pupils,
            cfg.contour,
            cfg.antialiased,
            int(compat == "release"),
            portrait,
            cfg.warped,
        )

    def __len__(self) -> int:
        return len(self.points) - self.first

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W _"]:
        drawn = self.lines(frames)
        if not self.warped or self.portrait is None:
            return drawn
        return np.concatenate([drawn, self.moved(frames)], -1)

    def moved(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The portrait, warped to the landmarks."""
        assert self.portrait is not None
        return warp(*self.portrait, self.points[frames + self.first])

    def lines(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The landmarks alone."""
        release = self.compat == "release"  # which has one size of pupils for all pictures
        return draw(
            self.points[frames + self.first],
            self.size,
            contour=self.contour,
            pupils=self.pupils,
            pupil_radius=3 if release else PUPIL_RADIUS * self.size[0],
            antialiased=self.antialiased,
            compat=self.compat,
        )
