"""An animated picture: its frames are made when they are asked for."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax.framing import View
from emoji_jax.landmarks import Landmarks, draw
from emoji_jax.sampling import Work
from emoji_jax.video_writer import check_path, write_video

# The released pupils are squares of 6 pixels in pictures of 512.
_PUPIL = 3 / 512

Frame = UInt8[np.ndarray, "H W 3"]


@runtime_checkable
class Points(Protocol):
    """Landmarks in pixels, computed when asked for: `points[frames]`, `len(points)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 2"]: ...


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Landmark pictures that are drawn when asked for, so that a long video takes no memory."""

    points: Points
    size: tuple[int, int]
    compat: Literal["release"] | None = None
    pupils: bool = True
    contour: bool = False
    first: int = 0

    def __len__(self) -> int:
        return len(self.points) - self.first

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        release = self.compat == "release"  # which has one size of pupils for all pictures
        radius = 3 if release else max(1, round(_PUPIL * self.size[0]))
        return draw(
            self.points[frames + self.first],
            self.size,
            contour=self.contour,
            pupils=self.pupils,
            pupil_radius=radius,
            compat=self.compat,
        )


@dataclasses.dataclass(frozen=True)
class Actor:
    """A face of a picture, and what moves it.

    Attributes:
      view: where it is.
      reference: the portrait as the networks see it.
      pictures: the aligned landmarks of each frame.
      identity: hash of all that decides its frames.
      make: its frames, at the networks' size, going on where some work left off.
    """

    view: View
    reference: Frame
    pictures: Drawn
    identity: str
    make: Callable[[Work], Iterator[Frame]] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Animation:
    """An animated picture; iterating makes the frames, RGB, one by one.

    Attributes:
      picture: the portrait as it was given.
      actors: its faces that move.
      seam: over which part of their views' sides they pass into the picture; None leaves the
        picture away, and frames are as the networks make them.
      motion: the (first) driver's landmarks, as they are used.
      times: when each frame is shown, seconds.
      frame_rate: frames per second, on average.
      audio: a file with sound that belongs to it, or None.
      notes: what the user should know about portrait and driver.
    """

    picture: Frame
    actors: tuple[Actor, ...]
    seam: float | None
    motion: Landmarks
    times: Float[np.ndarray, " F"]
    frame_rate: Fraction
    audio: Path | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames(self._work())

    def _work(self, folder: Path | None = None, *, resume: bool = False) -> list[Work]:
        return [
            Work(folder and folder / str(i), actor.identity, resume=resume)
            for i, actor in enumerate(self.actors)
        ]

    def _made(self, work: list[Work]) -> Iterator[tuple[Frame, ...]]:
        """Frames of all actors, at the networks' size."""
        made = [actor.make(some) for actor, some in zip(self.actors, work, strict=True)]
        return zip(*made, strict=True)

    def frames(self, work: list[Work]) -> Iterator[Frame]:
        """The frames, going on where some work left off."""
        for made in self._made(work):
            if self.seam is None:
                yield made[0]
                continue
            picture = self.picture
            for actor, frame in zip(self.actors, made, strict=True):
                picture = actor.view.paste(frame, picture, self.seam)
            yield picture

    def grid(self, work: list[Work]) -> Iterator[Frame]:
        """Frames with portrait, landmarks and result side by side; a row for each actor."""
        for i, made in enumerate(self._made(work)):
            yield np.concatenate(
                [
                    np.concatenate([actor.reference, actor.pictures[np.array([i])][0], frame], 1)
                    for actor, frame in zip(self.actors, made, strict=True)
                ]
            )

    def save(self, path: str | Path, *, grid: bool = False, resume: bool = False) -> None:
        """Makes the frames and writes them, with their times and sound; see `VideoWriter`.

        Until it is written, what is done lies beside it, in `.NAME.work`.

        Args:
          path: what to write.
          grid: portrait, landmarks and result side by side.
          resume: go on with what an interrupted run left there, if it did.

        Raises:
          UserError: it can't be written; the work to resume was for something else.
        """
        check_path(path, len(self))
        path = Path(path)
        folder = path.with_name(f".{path.name}.work")
        work = self._work(folder, resume=resume)
        try:
            frames = self.grid(work) if grid else self.frames(work)
            write_video(path, frames, self.frame_rate, self.audio, self.times)
        except BaseException:
            if not any(some.done for some in work):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
