"""What happens on the page's events; it knows nothing of how the page is made."""

import contextlib
import dataclasses
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from PIL import Image

from emoji_jax import by_hand
from emoji_jax.animation import Animation
from emoji_jax.animator import Animator
from emoji_jax.driver import (
    LANDMARKS,
    Driver,
    MotionConfig,
    Progress,
    expression,
    follow,
    read,
)
from emoji_jax.errors import UserError, memory_wanted
from emoji_jax.images import Picture, read_image
from emoji_jax.page import pictures
from emoji_jax.page.fields import section_of
from emoji_jax.page.limits import KEPT, Limits
from emoji_jax.page.visitor import Made, Motion, Portrait, Refused, newest
from emoji_jax.page.watch import Meter, Stopped, watched
from emoji_jax.pairs import configured
from emoji_jax.video import open_video
from emoji_jax.video_writer import VideoWriter, write_video

EXAMPLE = Path(__file__).parents[1] / "examples" / "portrait.png"
"""The portrait that the page begins with."""

Cells = tuple[tuple[str, str], ...]

_BUG = "This is a mistake of the program, not yours; its log says more. Nothing was made."


class Page:
    """One checkpoint, for everybody who opens the page.

    Args:
      animator: the checkpoint.
      config: options as the command line gave them.
      limits: what is refused.
      folder: where uploads and results lie for a while.
    """

    def __init__(
        self, animator: Animator, config: ml_collections.ConfigDict, limits: Limits, folder: Path
    ):
        self.animator, self.config, self.limits, self.folder = animator, config, limits, folder
        self._pace: dict[str, float] = {}
        self._one_at_a_time, self._reading = threading.Lock(), threading.Lock()
        (folder / KEPT).mkdir(exist_ok=True)
        _ = animator.detector  # before several threads ask for it

    @contextlib.contextmanager
    def told(self, place: str) -> Iterator[None]:
        """Turns what goes wrong into `Refused`: a user's mistake, or a bug, which is logged."""
        try:
            yield
        except (Refused, Stopped):
            raise
        except UserError as error:
            text = self._public(str(error))
            raise Refused(section_of(text) or place, text) from None
        except Exception as error:
            logging.getLogger("emoji_jax").exception("on the page")
            if memory_wanted(error):
                text = "too little memory: a shorter motion or a smaller portrait needs less"
                raise Refused(place, text) from None
            raise Refused(place, _BUG) from None

    def _public(self, text: str) -> str:
        """A message with the names of files, but not of the folders that they lie in here."""
        return re.sub(re.escape(str(self.folder)) + r"/(?:[^/\s]+/)*", "", text)

    def options(self, cells: Cells) -> dict[str, Any]:
        """What an animator takes, as the fields say."""
        with self.told("making"):
            return configured(self.config, cells)

    def portrait(self, path: str | None, hand: str | None = None) -> Portrait:
        """Reads a portrait, made smaller where it is large, and its landmarks if they are given."""
        # One at a time: a large one takes gigabytes for a moment.
        with self.told("portrait"), self._reading:
            source = Path(path or EXAMPLE)
            self.limits.check_bytes(source)
            self.limits.check_bytes(Path(hand or EXAMPLE))
            picture = read_image(source)
            given = by_hand.read(hand, source) if hand else None
            height, width = picture.shape[:2]
            scale = self.limits.side / max(height, width)
            if scale >= 1:
                return Portrait(str(source), picture, given)
            size = (max(round(width * scale), 1), max(round(height * scale), 1))
            small = np.array(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
            given = given and dataclasses.replace(given, size=small.shape[:2])
            note = f"{source.name} is {width}x{height} pixels; here it becomes {size[0]}x{size[1]}"
            return Portrait(str(source), small, given, note)

    def see(self, portrait: Portrait, cells: Cells) -> tuple[str, tuple[str, ...]]:
        """The portrait with the landmarks that are found in it, and remarks.

        Of the fields, only framing has a say in it; a mistake in others is told elsewhere.
        """
        options = self.options(tuple(cell for cell in cells if cell[0].startswith("framing.")))
        with self.told("portrait"):
            moving = MotionConfig(compat=options["moving"].compat)
            calm = expression("smile", frames=2)
            driver = read(calm, moving, lambda: self.animator.detector, _quiet)
            animation = self._animation(portrait, driver, options)
            notes = [portrait.note] if portrait.note else []
            return pictures.of_portrait(animation), (*notes, *animation.notes)

    def follow(
        self, source: str, cells: Cells, before: Motion | None, progress: Progress
    ) -> Motion:
        """Looks for the face in every frame of a motion, unless that was done before.

        All of it, so that `motion.start` and the like cost nothing later; but where all of it is
        refused, just the part that is asked for.
        """
        moving: MotionConfig = self.options(cells)["moving"]
        how, whole = (moving.face, moving.max_gap), _WHOLE
        if source.startswith("expression:"):  # which are made of so many frames, not cut to them
            how, whole = (*how, moving.frames), {**_WHOLE, "frames": moving.frames}
        elif Path(source).suffix.lower() in LANDMARKS:  # videos state theirs
            how = (*how, moving.frame_rate)
        part = (moving.start, moving.end, moving.frames)
        past = [before, *before.earlier] if before and before.source == source else []
        alike = [one for one in past if one.how == how]
        for one in alike:
            if one.part in (None if one.track else part, part):
                return one if one is before else newest(one, past)
        with self.told("motion"):
            self.limits.check_bytes(Path(source))
            tries = [(dataclasses.replace(moving, **whole), None)]
            if part != _NO_PART:
                # Where others are of parts, the whole was refused.
                tries = [*tries[: not alike], (moving, part)]
            track, found, error = None, part, ""
            for one, of in tries:
                try:
                    self.limits.check_length(source, one)
                    bounded = self.limits.bounded(progress)
                    track = follow(source, one, lambda: self.animator.detector, bounded)
                    found = of
                    break
                except UserError as refusal:
                    error = self._public(str(refusal))
            return newest(Motion(source, how, found, track, error), past)

    def following(
        self, source: str, cells: Cells, before: Motion | None = None
    ) -> Iterator[Meter | Motion]:
        """The same in a thread; yields how far it is, if that takes long, and what was found."""
        with self.told("motion"):
            yield from watched(
                lambda progress: self.follow(source, cells, before, progress),
                Meter({}, {}),
                threading.Event(),
            )

    def driver(self, motion: Motion, options: dict[str, Any]) -> Driver:
        """A motion as the fields say; milliseconds."""
        with self.told("motion"):
            if motion.track is None:
                raise UserError(motion.error)
            moving: MotionConfig = options["moving"]
            if motion.part is not None:  # nothing else of it is there
                moving = dataclasses.replace(moving, **_WHOLE)
            self.limits.check_result(motion.track.landmarks, moving)
            if not (motion.source.startswith("expression:") or Path(motion.source).exists()):
                kept = self.limits.minutes
                name = Path(motion.source).name
                raise UserError(f"{name} was deleted after {kept} minutes; give it again")
            driver = read(motion.track, moving, lambda: self.animator.detector, _quiet)
            return dataclasses.replace(driver, notes=tuple(map(self._public, driver.notes)))

    def preview(
        self, portrait: Portrait, motion: Motion, cells: Cells
    ) -> tuple[str, tuple[str, ...]]:
        """The aligned landmarks as they will move, and remarks; nothing is generated."""
        options = self.options(cells)
        driver = self.driver(motion, options)
        with self.told("portrait"):
            animation = self._animation(portrait, driver, options)
            return pictures.of_motion(animation), animation.notes

    def live(self, frame: Picture, portrait: Portrait, cells: Cells) -> str:
        """One frame of a camera as landmarks on the portrait; empty where there is no face."""
        options = self.options(cells)
        with self.told("motion"):
            face = self.animator.detector.detect(frame)
            if face is None:
                return ""
            moving = dataclasses.replace(options["moving"], **_WHOLE, neutral="auto")
            driver = read(face, moving, lambda: self.animator.detector, _quiet)
            return pictures.of_motion(self._animation(portrait, driver, options))

    def make(
        self, portrait: Portrait, motion: Motion, cells: Cells, stop: threading.Event
    ) -> Iterator[Meter | Made]:
        """Generates; yields how far it is, and last what was made.

        Raises:
          Refused: it can't be made.
          Stopped: `stop` was set; nothing is left behind.
        """
        options = self.options(cells)
        driver = self.driver(motion, options)
        meter = Meter(self._pace, {"denoising": 0, "decoding": len(driver.landmarks)})

        def work(progress: Progress) -> Made:
            with self._one_at_a_time:
                return self._make(portrait, motion, driver, options, progress)

        with self.told("making"):
            yield from watched(work, meter, stop)

    def _make(
        self,
        portrait: Portrait,
        motion: Motion,
        driver: Driver,
        options: dict[str, Any],
        progress: Progress,
    ) -> Made:
        begun = time.monotonic()
        animation = self._animation(portrait, driver, options, progress)
        frames = iter(animation)
        first = next(frames)  # what takes long is done: folders that stay empty are swept away
        folder = self.folder / KEPT / secrets.token_hex(16)
        folder.mkdir()
        sources = (portrait.source, motion.source.split(":")[-1])
        name = "_".join(_shortened(Path(source).stem) for source in sources)
        video, beside = folder / f"{name}.mp4", folder / f"{name}_beside_driver.mp4"
        rest: dict[str, Any] = {"times": animation.times, "audio": animation.audio}
        rest["credentials"] = animation.credentials
        try:
            height = first.shape[0]
            rate = options["moving"].frame_rate
            shown = pictures.of_driver(driver, motion.source, height, rate)
            size, both = first.shape[:2], np.concatenate([next(shown), first], 1)
            with (
                VideoWriter(video, size, animation.frame_rate, **rest) as alone,
                VideoWriter(beside, both.shape[:2], animation.frame_rate, **rest) as together,
            ):
                alone.write(first)
                together.write(both)
                for frame, driving in zip(frames, shown, strict=False):
                    alone.write(frame)
                    together.write(np.concatenate([driving, frame], 1))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        seconds = time.monotonic() - begun
        told = (animation.notes, animation.credentials)
        return Made(video, beside, len(animation), seconds, *told)

    def _animation(
        self,
        portrait: Portrait,
        driver: Driver,
        options: dict[str, Any],
        progress: Progress = lambda *_: None,
    ) -> Animation:
        return self.animator(
            portrait.picture, driver, ref_landmarks=portrait.given, progress=progress, **options
        )

    def smaller(self, made: Made, suffix: str, side: int) -> Path:
        """A result in another format, its longer side not above so many pixels."""
        with self.told("making"):
            video = made.video
            out = video.with_name(f"{video.stem}_{side}{suffix}")
            if not out.exists():
                source = open_video(video)
                frames, times = [], []
                for frame, moment in source:
                    scale = min(side / max(frame.shape[:2]), 1)
                    frames.append(pictures.resized(frame, scale))
                    times.append(moment)
                rest = (None, np.array(times), made.credentials)
                write_video(out, frames, source.frame_rate, *rest)
            return out


_NO_PART = (0.0, None, None)
# Of the options of a motion, what is done without looking at it again.
_WHOLE: dict[str, Any] = {"start": 0.0, "end": None, "frames": None}


def _shortened(name: str) -> str:
    """A name that leaves room for what is put to it: file systems take 255 bytes."""
    return name.encode()[:60].decode(errors="ignore")


def _quiet(what: str, done: int, total: int | None) -> None:
    """A `Progress` for what takes no time."""
