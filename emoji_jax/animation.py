"""An animated picture: its frames are made when they are asked for."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from emoji_jax import sampling
from emoji_jax.credentials import Credentials
from emoji_jax.detail import restore
from emoji_jax.drawn import Drawn
from emoji_jax.driver import Progress
from emoji_jax.framing import View, paste, shares
from emoji_jax.images import Picture, clip_pixels, to_unit
from emoji_jax.landmarks import Landmarks
from emoji_jax.models.unet import Conditions
from emoji_jax.programs import Programs, together
from emoji_jax.sampling import SamplerConfig, Work
from emoji_jax.sampling.work import beside
from emoji_jax.video_writer import check_path, write_video

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How frames are made of a portrait and its landmarks."""

    programs: Programs
    sampler: SamplerConfig
    seed: int
    release: bool
    progress: Progress


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
    reference: Picture
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

    def decode(self, latents: Float[np.ndarray, "F h w C"]) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
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
    programs: Programs, pictures: Drawn, frames: Iterator[Picture], sampler: SamplerConfig
) -> Iterator[Picture]:
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
      latents: of its actors, where they are made already.
    """

    picture: Picture
    actors: tuple[Actor, ...]
    seam: float | None
    motion: Landmarks
    times: Float[np.ndarray, " F"]
    frame_rate: Fraction
    audio: Path | None
    notes: tuple[str, ...]
    latents: Float[np.ndarray, "P F h w C"] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Picture]:
        return self.frames(denoise(self.actors) if self.latents is None else self.latents)

    @property
    def identity(self) -> str:
        """Hash of all that decides the frames of its actors."""
        return " ".join(actor.identity for actor in self.actors)

    def frames(self, latents: Float[np.ndarray, "P F h w C"]) -> Iterator[Picture]:
        """The frames of its actors' latents."""
        views = [actor.view for actor in self.actors]
        weights = [] if self.seam is None else shares(views, self.seam)
        for made in self._decode(latents):
            if self.seam is None:
                yield made[0]
            else:
                parts = [view.part(frame) for view, frame in zip(views, made, strict=True)]
                yield paste(parts, views, weights, self.picture)

    def grid(self, latents: Float[np.ndarray, "P F h w C"]) -> Iterator[Picture]:
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

        Until it is written, what is done lies beside it, in `.NAME.work`; where latents are made
        already, there is nothing to lie there, nor to resume.

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
        if self.latents is not None:
            self._write(path, self.latents, grid=grid, credentials=credentials)
            return
        work = Work(beside(path), self.identity, resume=resume)
        try:
            self._write(path, denoise(self.actors, work), grid=grid, credentials=credentials)
        except BaseException:
            if not work.done:
                work.remove()
            raise
        work.remove()

    def _write(
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


def alike(a: Animation, b: Animation) -> bool:
    """Whether two can be made in the same batches."""
    one = len(a.actors) == len(b.actors) == 1
    recipes = [dict(vars(x.actors[0].recipe), progress=None) for x in (a, b)]
    return one and len(a) == len(b) and recipes[0] == recipes[1]


def batches(items: Iterable[Item], of: Callable[[Item], Animation | None]) -> Iterator[list[Item]]:
    """Things by what can be made together and fills a batch, in order.

    Where no further thing can be had, because of an error, those before it come first.

    Args:
      items: as they come.
      of: a thing's animation; what has none does not wait for others.
    """
    batch: list[Item] = []
    first: Animation | None = None
    try:
        for item in items:
            if (animation := of(item)) is None:
                yield [item]
                continue
            if first is not None and not alike(first, animation):
                yield batch
                batch = []
            first = animation
            batch.append(item)
            recipe = animation.actors[0].recipe
            if len(batch) == recipe.sampler.together(recipe.programs.devices):
                yield batch
                batch, first = [], None
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def denoised(animations: Sequence[Animation]) -> list[Animation]:
    """The same with their latents, made together: one, or several that are `alike`."""
    if len(animations) == 1:
        parts = denoise(animations[0].actors)[None]
    else:
        parts = denoise([animation.actors[0] for animation in animations])[:, None]
    both = zip(animations, parts, strict=True)
    return [dataclasses.replace(animation, latents=own) for animation, own in both]
