"""An animated picture: its frames are made when they are asked for."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from emoji_jax import sampling
from emoji_jax.credentials import Credentials
from emoji_jax.detail import restore
from emoji_jax.driver import Progress
from emoji_jax.framing import View, paste, shares
from emoji_jax.images import clip_pixels
from emoji_jax.landmarks import Landmarks, draw, warp
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.unet import Conditions
from emoji_jax.programs import Latents, Programs, together
from emoji_jax.sampling import SamplerConfig, Work
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
    portrait: tuple[Frame, Float[np.ndarray, "478 2"]] | None = None
    warped: bool = False

    @classmethod
    def to_fit(
        cls,
        cfg: EmojiConfig,
        points: Points,
        portrait: tuple[Frame, Float[np.ndarray, "478 2"]],
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
            pupil_radius=3 if release else _PUPIL * self.size[0],
            antialiased=self.antialiased,
            compat=self.compat,
        )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How frames are made of a portrait and its landmarks."""

    programs: Programs
    sampler: SamplerConfig
    seed: int
    release: bool
    progress: Progress


def to_unit(
    picture: UInt8[np.ndarray, "*F H W 3"], *, release: bool
) -> Float32[np.ndarray, "*F H W 3"]:
    """Levels as numbers from -1 to 1; the released code's way there loses a level of dark ones."""
    levels = picture.astype(np.float32)
    if release:
        levels = np.where((levels >= 1) & (levels <= 63), levels - 1, levels)
    return levels / np.float32(127.5) - 1


@dataclasses.dataclass(frozen=True)
class Actor:
    """A face of a picture, and what moves it.

    Attributes:
      view: where it is.
      reference: the portrait as the networks see it.
      pictures: the aligned landmarks of each frame.
      recipe: how its frames are made.
      identity: hash of all that decides them.
    """

    view: View
    reference: Frame
    pictures: Drawn
    recipe: Recipe
    identity: str

    def conditions(self) -> Conditions:
        """What the portrait contributes."""
        programs = self.recipe.programs
        return programs.encode(
            to_unit(self.reference, release=self.recipe.release),
            clip_pixels(self.reference, programs.cfg.clip.image_size),
        )

    def decode(self, latents: Latents) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        """Frames at the networks' size."""
        recipe = self.recipe
        frames = sampling.decode(
            recipe.programs,
            latents,
            recipe.sampler,
            rounding="down" if recipe.release else "nearest",
            progress=recipe.progress,
        )
        return detailed(recipe.programs, self.pictures, frames, recipe.sampler)


def detailed(
    programs: Programs, pictures: Drawn, frames: Iterator[Frame], sampler: SamplerConfig
) -> Iterator[Frame]:
    """Frames at the networks' size, with the portrait's detail where they show the same."""
    keep = programs.cfg.keep if sampler.keep is None else sampler.keep
    if not keep or pictures.portrait is None:
        yield from frames
        return
    done, batch = 0, min(sampler.decode_batch, len(pictures)) * programs.devices
    while made := list(itertools.islice(frames, batch)):
        # The last batch is filled up with frames that it has, to need no second program.
        indices = np.minimum(np.arange(done, done + batch), len(pictures) - 1)
        moved = pictures.moved(indices)
        decoded = programs.reconstruct(to_unit(moved, release=False))
        done, count = done + len(made), len(made)
        yield from restore(np.stack(made), moved[:count], decoded[:count], keep)


def denoise(actors: Sequence[Actor], work: Work | None = None) -> Float[np.ndarray, "P F h w C"]:
    """Latents of actors with one recipe and as many frames, in the same batches.

    Args:
      actors: one or several.
      work: what is done of it already.
    """
    recipe = actors[0].recipe
    return sampling.denoise(
        recipe.programs,
        together([actor.conditions() for actor in actors]),
        [actor.pictures for actor in actors],
        recipe.sampler,
        seed=recipe.seed,
        windows=sampling.released_windows if recipe.release else None,
        progress=recipe.progress,
        work=work,
    )


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
        return self.frames(denoise(self.actors))

    @property
    def identity(self) -> str:
        """Hash of all that decides the frames of its actors."""
        return " ".join(actor.identity for actor in self.actors)

    def frames(self, latents: Float[np.ndarray, "P F h w C"]) -> Iterator[Frame]:
        """The frames of its actors' latents."""
        views = [actor.view for actor in self.actors]
        weights = [] if self.seam is None else shares(views, self.seam)
        for made in self._decode(latents):
            if self.seam is None:
                yield made[0]
            else:
                parts = [view.part(frame) for view, frame in zip(views, made, strict=True)]
                yield paste(parts, views, weights, self.picture)

    def grid(self, latents: Float[np.ndarray, "P F h w C"]) -> Iterator[Frame]:
        """Frames with portrait, landmarks and result side by side; a row for each actor."""
        for i, made in enumerate(self._decode(latents)):
            rows = [
                [actor.reference, actor.pictures.lines(np.array([i]))[0], frame]
                for actor, frame in zip(self.actors, made, strict=True)
            ]
            yield np.concatenate([np.concatenate(row, 1) for row in rows])

    def _decode(self, latents: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        each = [actor.decode(own) for actor, own in zip(self.actors, latents, strict=True)]
        return zip(*each, strict=True)

    def save(
        self,
        path: str | Path,
        *,
        grid: bool = False,
        resume: bool = False,
        credentials: bool = True,
    ) -> None:
        """Makes the frames and writes them, with their times and sound; see `VideoWriter`.

        Until it is written, what is done lies beside it, in `.NAME.work`.

        Args:
          path: what to write.
          grid: portrait, landmarks and result side by side.
          resume: go on with what an interrupted run left there, if it did.
          credentials: say in the file's metadata that it was generated (`Credentials`).

        Raises:
          UserError: it can't be written; the work to resume was for something else.
        """
        path = Path(path)
        check_path(path, len(self))
        work = Work(path.with_name(f".{path.name}.work"), self.identity, resume=resume)
        try:
            self.write(path, denoise(self.actors, work), grid=grid, credentials=credentials)
        except BaseException:
            if not work.done:
                work.remove()
            raise
        work.remove()

    def write(
        self,
        path: str | Path,
        latents: Float[np.ndarray, "P F h w C"],
        *,
        grid: bool = False,
        credentials: bool = True,
    ) -> None:
        """Writes the frames of its actors' latents; see `save`."""
        frames = self.grid(latents) if grid else self.frames(latents)
        told = self.credentials if credentials else None
        write_video(path, frames, self.frame_rate, self.audio, self.times, told)

    @property
    def credentials(self) -> Credentials:
        """What its files say about where they come from."""
        recipe = self.actors[0].recipe
        return Credentials(recipe.programs.cfg.preset, recipe.seed, self.seam is not None)
