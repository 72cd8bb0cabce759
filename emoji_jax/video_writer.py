"""Writing moving pictures, as a stream; nothing has its final name before it is complete."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from emoji_jax.credentials import Credentials
from emoji_jax.errors import UserError
from emoji_jax.images import Picture
from emoji_jax.video_encoder import CONTAINERS, Encoder, write_errors

_STILLS = (".png", ".jpg", ".jpeg")


@runtime_checkable
class _Sink(Protocol):
    def write(self, frame: Picture, time: float) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class VideoWriter:
    """Writes frames one by one; a context manager.

    By the suffix: .mp4, .mov, .mkv, .webm; .gif and animated .webp, which hold all frames in memory
    until the end, leave out frames that follow too quickly (more than 50 and 90 per second) and
    may join equal ones; .png and .jpg, which take one frame; no suffix, a new folder of PNG files.
    Sides that are odd gain a row or column, which the first four formats need.

    Args:
      path: what to write. An existing file is replaced, once the new one is complete.
      size: height and width of the frames.
      frame_rate: frames per second.
      times: when each frame is shown, seconds, if not at equal intervals; the first is the start.
      audio: file whose sound goes with it. What it has before the first of `times` and after the
        last frame is left out.
      credentials: what the file shall say about where it comes from.

    Raises:
      UserError: unknown suffix, or a place that can't be written to, then or later.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        frame_rate: float | Fraction,
        *,
        times: np.ndarray | None = None,
        audio: str | Path | None = None,
        credentials: Credentials | None = None,
    ):
        check_path(path)
        self.path = Path(path)
        self.size, self.frame_rate = size, Fraction(frame_rate).limit_denominator(1001)
        self.times, self.count, self._credentials = times, 0, credentials
        suffix = self.path.suffix.lower()
        self._unfinished = self.path.with_name(f".{self.path.stem}.unfinished{self.path.suffix}")
        try:
            self._remove()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = self._open(suffix, Path(audio) if audio else None)
        except UserError:
            self._remove()
            raise
        except write_errors() as error:
            self._remove()
            raise self._can_not(error) from None

    def _open(self, suffix: str, audio: Path | None) -> _Sink:
        if suffix in CONTAINERS:
            start = 0.0 if self.times is None else float(self.times[0])
            told = self._credentials.text if self._credentials else None
            return Encoder(self._unfinished, self.size, self.frame_rate, audio, start, told)
        told = self._credentials.of_picture(suffix or ".png") if self._credentials else {}
        if suffix in _STILLS:
            return _Still(self._unfinished, told)
        if suffix:
            return _Pillow(self._unfinished, self.frame_rate, told)
        return _Pngs(self._unfinished, told)

    def write(self, frame: Picture) -> None:
        """Adds a frame."""
        if frame.shape != (*self.size, 3):
            raise ValueError(f"frame is {frame.shape}; expected {(*self.size, 3)}")
        time = float(self.count / self.frame_rate)
        if self.times is not None:
            time = float(self.times[self.count] - self.times[0])
        try:
            self._sink.write(frame, time)
        except write_errors() as error:
            raise self._can_not(error) from None
        self.count += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if not self.count:
                    raise UserError(f"{self.path}: there are no frames to write")
                self._sink.finish()
                if self.path.is_dir():
                    self.path.rmdir()  # an empty folder was there before
                self._unfinished.replace(self.path)
        except write_errors() as problem:
            raise self._can_not(problem) from None
        finally:
            with contextlib.suppress(
                *write_errors()
            ):  # of a full disk, the first complaint is enough
                self._sink.abandon()
            self._remove()

    def _can_not(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or error
        return UserError(f"{self.path} can't be written: {reason}")

    def _remove(self) -> None:
        if self._unfinished.is_dir():
            shutil.rmtree(self._unfinished, ignore_errors=True)
        elif self._unfinished.exists():
            self._unfinished.unlink()


def check_path(path: str | Path, frames: int | None = None) -> None:
    """Raises a UserError for a name that `VideoWriter` would refuse; creates nothing.

    Args:
      path: the name.
      frames: how many there are to write, if that is known.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*CONTAINERS, ".gif", ".webp", *_STILLS, ""):
        raise UserError(
            f"{path} has the suffix {suffix}; expected {', '.join(CONTAINERS)}, .gif, .webp, "
            ".png or .jpg for one picture, or none, for a folder of PNG files"
        )
    if suffix in _STILLS and frames is not None and frames != 1:
        raise UserError(
            f"{path} would hold one picture, and there are {frames} frames; expected --still, or "
            "another suffix"
        )
    if path.is_dir() and (suffix or any(path.iterdir())):
        raise UserError(f"{path} is a folder already; give another name")
    if path.is_file() and not suffix:
        raise UserError(f"{path} is a file already; give another name for a folder of PNG files")
    if not path.name:
        raise UserError("the result has no name; give --out a file or folder to write")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise UserError(f"{path} can't be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{path} can't be written: no permission to write to {parent}")


class _Pngs:
    def __init__(self, path: Path, told: dict[str, Any]):
        path.mkdir()
        self.path, self.count, self.told = path, 0, told

    def write(self, frame: Picture, time: float) -> None:
        Image.fromarray(frame).save(self.path / f"{self.count:06d}.png", **self.told)
        self.count += 1

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Still:
    def __init__(self, path: Path, told: dict[str, Any]):
        path.touch()
        self.path, self.told = path, told

    def write(self, frame: Picture, time: float) -> None:
        Image.fromarray(frame).save(self.path, quality=95, **self.told)

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Pillow:
    def __init__(self, path: Path, frame_rate: Fraction, told: dict[str, Any]):
        path.touch()
        self.path, self.last, self.told = path, float(1 / frame_rate), told
        # Anything quicker is shown for a tenth of a second by browsers.
        self.shortest = 0.02 if path.suffix.lower() == ".gif" else 0.011
        self.frames: list[Image.Image] = []
        self.times: list[float] = []

    def write(self, frame: Picture, time: float) -> None:
        if self.times and time - self.times[-1] < self.shortest - 1e-6:
            return
        self.frames.append(Image.fromarray(frame))
        self.times.append(time)

    def finish(self) -> None:
        ends = [*self.times[1:], self.times[-1] + max(self.last, self.shortest)]
        # Rounded at the ends, not each by itself, so that errors do not add up.
        unit = 10 if self.path.suffix.lower() == ".gif" else 1
        marks = np.round(np.array([self.times[0], *ends]) * 1000 / unit).astype(int) * unit
        first, *rest = self.frames
        first.save(
            self.path,
            save_all=True,
            append_images=rest,
            duration=np.diff(marks).tolist(),
            loop=0,
            quality=90,
            **self.told,
        )

    def abandon(self) -> None:
        self.frames.clear()


def write_video(
    path: str | Path,
    frames: Iterable[Picture],
    frame_rate: float | Fraction = 30,
    audio: str | Path | None = None,
    times: np.ndarray | None = None,
    credentials: Credentials | None = None,
) -> None:
    """Writes frames; see `VideoWriter`."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: there are no frames to write")
    told = {"times": times, "audio": audio, "credentials": credentials}
    with VideoWriter(path, first.shape[:2], frame_rate, **told) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)
