"""How much the page takes, and how long it keeps it."""

import contextlib
import dataclasses
import time
from pathlib import Path

from PIL import UnidentifiedImageError

from emoji_jax.driver import LANDMARKS, MotionConfig, Progress
from emoji_jax.errors import UserError
from emoji_jax.images import opened
from emoji_jax.landmarks import Landmarks, timing
from emoji_jax.video import open_video

KEPT = "made"
"""Folder of results in the page's folder."""

# Frames per second that a motion or a result has at most, on average.
_RATE = 60


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is refused, in words that say what would do.

    Attributes:
      megabytes: of a file.
      seconds: of a motion, and of a result.
      side: pixels; larger portraits are made smaller.
      minutes: after which files are deleted.
    """

    megabytes: int | float = 100
    seconds: int | float = 30.0
    side: int = 1280
    minutes: int = 60

    @property
    def _frames(self) -> int:
        return int(self.seconds * _RATE)

    def check_bytes(self, path: Path) -> None:
        """Raises a UserError for a file that is too large."""
        size = path.stat().st_size / 1e6 if path.is_file() else 0
        if size > self.megabytes:
            raise UserError(
                f"{path.name} has {size:.1f} MB; this page takes files up to {self.megabytes} MB"
            )

    def check_length(self, source: str, moving: MotionConfig) -> None:
        """Raises a UserError for a video that says it is too long; of others, see `bounded`."""
        path = Path(source)
        if source.startswith("expression:") and (moving.frames or 0) > self._frames:
            raise UserError(
                f"motion.frames is {moving.frames}; this page makes up to {self._frames} frames"
            )
        if not path.is_file() or path.suffix.lower() in LANDMARKS:
            return
        self._check_pictures(path)
        video = open_video(path, frame_rate=moving.frame_rate)
        count = video.length or 0
        seconds = float(count / video.frame_rate) if count > 1 else 0.0
        wanted = min(moving.end or seconds, seconds) - moving.start
        if moving.frames:
            wanted = min(wanted, float(moving.frames / video.frame_rate))
        if wanted > self.seconds:
            raise UserError(
                f"{path.name} is {seconds:.1f} s long; this page takes motions up to "
                f"{self.seconds:g} s: choose a part of it by motion.start and motion.end"
            )

    def _check_pictures(self, path: Path) -> None:
        """Refuses an animated image of too much before any of it is decompressed."""
        try:
            with opened(path) as image:
                count, area = getattr(image, "n_frames", 1), image.width * image.height
        except (UserError, UnidentifiedImageError):
            return  # of a video, or of what reading it will say
        most = self._frames
        if count > most or count * area > most * self.side**2:
            raise UserError(
                f"{path.name} has {count} frames of {image.width}x{image.height} pixels; this page "
                f"takes up to {most}, of {self.side}x{self.side} or fewer of larger ones"
            )

    def bounded(self, progress: Progress) -> Progress:
        """The same progress, but it ends the work at frames that nobody announced."""
        most = self._frames

        def bounded(what: str, done: int, total: int | None) -> None:
            if done > most:
                raise UserError(
                    f"the motion has over {most} frames, the most that this page takes: choose a "
                    "part of it by motion.start and motion.end"
                )
            progress(what, done, total)

        return bounded

    def check_result(self, landmarks: Landmarks, moving: MotionConfig) -> None:
        """Raises a UserError for a motion that would become too long, before it does."""
        part = timing.trim(landmarks, moving.start, moving.end)[: moving.frames or None]
        if not len(part):
            return  # which reading it will say
        gap = timing.interval(part, 1 / moving.frame_rate)
        seconds = len(part) * gap * moving.loop / moving.speed
        frames = seconds * moving.fps if moving.fps else len(part) * moving.loop / moving.speed
        if seconds > self.seconds + gap or frames > self._frames:
            raise UserError(
                f"with motion.speed={moving.speed:g} and motion.loop={moving.loop} the result has "
                f"{seconds:.1f} s, {frames:.0f} frames; this page makes up to {self.seconds:g} s, "
                f"{self._frames} frames"
            )

    def sweep(self, folder: Path) -> None:
        """Deletes the files of a folder and of those in it that are too old."""
        oldest = time.time() - 60 * self.minutes
        for path in sorted(folder.rglob("*"), reverse=True):  # files before their folders
            with contextlib.suppress(OSError):
                if path.stat().st_mtime >= oldest or path == folder / KEPT:
                    continue
                if path.is_dir():
                    path.rmdir()  # if it is empty
                else:
                    path.unlink()
