"""Reading moving pictures, as a stream: memory does not grow with their length."""

import abc
import contextlib
import errno
import itertools
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence, UnidentifiedImageError

from emoji_jax.errors import UserError
from emoji_jax.images import Picture, opened, read_image, to_rgb

# Other formats hold several pictures too, but as previews, pages or layers.
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_EXPECTED = "expected a video, an animated image, a folder of frames or a picture"
# Of a frame; an 8K video has half as many.
_PIXELS = 2**26
# Files of FFmpeg's that hold all of a video. Others name further files or addresses to read (HLS,
# concat), or are text that FFmpeg films being typed.
_FORMATS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h261", "h263"),
    *("h264", "hevc", "vvc", "vc1", "av1", "obu", "ivf", "ogg", "asf", "flv", "live_flv", "mxf"),
    *("gxf", "nut", "nsv", "rm", "dv", "wtv", "swf", "dirac", "dnxhd", "mjpeg", "yuv4mpegpipe"),
    *(
        "jpegxl_pipe",
        "jpegxl_anim",
        "exr_pipe",
        "hdr_pipe",
        "dpx_pipe",
        "mp3",
        "wav",
        "flac",
        "aac",
    ),
)


class Video(abc.ABC):
    """Frames of a video, an animated image, a folder or a single picture; iterable repeatedly.

    Attributes:
      path: where it is.
      frame_rate: frames per second, on average.
      length: number of frames, None if unknown before they are read.
      audio: the file if it has sound, else None.
    """

    def __init__(self, path: Path, frame_rate: Fraction, length: int | None, audio: Path | None):
        self.path, self.frame_rate, self.length, self.audio = path, frame_rate, length, audio
        self.limit: int | None = None

    def __iter__(self) -> Iterator[tuple[Picture, float]]:
        """Frames, RGB, and when each is shown, seconds from the start of the file."""
        size = None
        for count, (frame, time) in enumerate(self._read()):
            if self.limit is not None and count >= self.limit:
                return
            size = size or frame.shape
            if frame.shape != size:
                raise UserError(
                    f"{self.path}: frame {count} is {frame.shape[1]}x{frame.shape[0]} pixels, "
                    f"those before it {size[1]}x{size[0]}; expected one size"
                )
            yield frame, time
        if size is None:
            raise UserError(f"{self.path} has no frames; {_EXPECTED}")

    def between(self, start: float, end: float | None) -> Iterator[tuple[Picture, float]]:
        """Those from `start` up to `end`, seconds after the first."""
        origin = None
        for frame, time in self:
            origin = time if origin is None else origin
            if end is not None and time - origin >= end - 1e-6:
                return
            if time - origin >= start - 1e-6:
                yield frame, time

    def count(self, start: float, end: float | None) -> int | None:
        """How many these are, if all are shown for as long; None if the file does not say."""
        if not self.length:
            return None
        rate, stop = float(self.frame_rate), self.length
        if end is not None:
            stop = min(stop, math.ceil(end * rate - 1e-6))
        return stop - math.ceil(start * rate - 1e-6)

    @abc.abstractmethod
    def _read(self) -> Iterator[tuple[Picture, float]]: ...


class Frames(Video):
    """A video's pictures, uint8 [F, H, W, 3], so many a second."""

    def __init__(self, pictures: UInt8[np.ndarray, "F H W 3"], frame_rate: float | Fraction):
        rate = Fraction(float(frame_rate)).limit_denominator(1001)
        super().__init__(Path("the motion"), rate, len(pictures), None)
        self._pictures = pictures

    def _read(self) -> Iterator[tuple[Picture, float]]:
        for i, picture in enumerate(self._pictures):
            yield picture, float(i / self.frame_rate)


class _Folder(Video):
    def __init__(self, path: Path, frame_rate: Fraction):
        known = Image.registered_extensions()
        files = [f for f in path.iterdir() if f.suffix.lower() in known and f.name[0] != "."]
        self.files = sorted(files, key=_natural)
        if not self.files:
            raise UserError(f"{path} holds no pictures; {_EXPECTED}")
        super().__init__(path, frame_rate, len(self.files), None)

    def _read(self) -> Iterator[tuple[Picture, float]]:
        for i, file in enumerate(self.files):
            yield read_image(file), float(i / self.frame_rate)


def _natural(file: Path) -> list[str | int]:
    """Sort key that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", file.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


class _Animation(Video):
    """GIF, WebP, APNG; or a still picture, which is one frame."""

    def __init__(self, path: Path, frame_rate: Fraction):
        with opened(path) as image:
            length = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
            frames = itertools.islice(ImageSequence.Iterator(image), length)
            durations = [_duration(frame) for frame in frames]
        if length > 1:
            # 100 ms is what browsers make of a duration that is absent or next to nothing.
            self.durations = [Fraction(d if d > 10 else 100).limit_denominator() for d in durations]
            frame_rate = Fraction(1000 * length, sum(self.durations)).limit_denominator(1001)
        else:
            self.durations = [1000 / frame_rate]
        super().__init__(path, frame_rate, length, None)

    def _read(self) -> Iterator[tuple[Picture, float]]:
        time = Fraction(0)
        with opened(self.path) as image:
            for frame, duration in zip(ImageSequence.Iterator(image), self.durations, strict=False):
                yield to_rgb(frame), float(time / 1000)
                time += duration


def _duration(frame: Image.Image) -> float:
    frame.load()  # WebP knows it only then
    return float(frame.info.get("duration", 0))


class _File(Video):
    """Whatever FFmpeg's libraries read out of one file."""

    def __init__(self, path: Path):
        with _opened(path) as container:
            stream = _moving(container)
            if stream is None:
                raise UserError(f"{path} holds no moving pictures; {_EXPECTED}")
            codec = stream.codec_context  # None of a file that is cut short
            if codec and codec.width * codec.height > _PIXELS:
                raise UserError(
                    f"{path} has frames of {codec.width}x{codec.height}, too many pixels; "
                    f"expected at most {_PIXELS / 1e6:.0f} million"
                )
            rate = stream.average_rate or stream.guessed_rate or Fraction(30)
            sound = path if container.streams.audio else None
            count = stream.frames
            self.promised = count or _told_frames(stream, Fraction(rate))
        super().__init__(path, Fraction(rate), count or None, sound)

    def _read(self) -> Iterator[tuple[Picture, float]]:
        count = 0
        with _opened(self.path) as container:
            stream = _moving(container)
            stream.thread_type = "AUTO"
            if stream.codec_context:  # frames may be larger than the file says
                stream.codec_context.options = {"max_pixels": str(_PIXELS)}
            try:
                for frame in container.decode(stream):
                    picture = frame.to_ndarray(format="rgb24")
                    # A phone held upright stores its pictures lying down and says so.
                    turns = round(frame.rotation / 90) % 4
                    time = count / self.frame_rate if frame.time is None else frame.time
                    yield np.ascontiguousarray(np.rot90(picture, turns)), float(time)
                    count += 1
            except _av_errors() as error:
                reason = getattr(error, "strerror", None) or error
                if getattr(error, "errno", None) == errno.EINVAL:
                    reason = f"a frame is damaged, or has over {_PIXELS / 1e6:.0f} million pixels"
                raise UserError(
                    f"{self.path} breaks off after {count} frames: {reason}; is it a whole video?"
                ) from None
        # Cutting a few frames off by an edit list is no damage.
        if count < 0.98 * self.promised - 2:
            raise UserError(
                f"{self.path} is cut short: it promises {self.promised} frames and holds {count}"
            )


def _told_frames(stream: Any, rate: Fraction) -> int:
    """How many frames a Matroska file's own note of the stream's duration makes; 0 without one."""
    note = re.fullmatch(r"(\d{1,6}):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")[:40])
    if not note:
        return 0
    hours, minutes, seconds = note.groups()
    start = float((stream.start_time or 0) * stream.time_base)  # the note counts from zero
    return int((3600 * int(hours) + 60 * int(minutes) + float(seconds) - start) * rate)


def _av_errors() -> tuple[type[Exception], ...]:
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), options=options)  # never a protocol's name
    except _av_errors() as error:
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.EINVAL:
            reason = "its format is not among those that are read here"
        if not path.stat().st_size:
            reason = "it is empty"
        raise UserError(f"{path} can't be read as a video: {reason}; {_EXPECTED}") from None
    with container:
        yield container


def _moving(container: Any) -> Any:
    """The first video stream that is not the cover picture of a piece of music."""
    streams = container.streams.video
    return next((s for s in streams if "attached_pic" not in str(s.disposition)), None)


def open_video(
    path: str | Path, *, frames: int | None = None, frame_rate: float | Fraction = 30
) -> Video:
    """Opens moving pictures, whatever they are in.

    Args:
      path: a video, an animated image, a folder of pictures (in natural order) or one picture.
      frames: read at most so many.
      frame_rate: of a folder, frames per second.

    Raises:
      UserError: missing, empty, unreadable, or without moving pictures. Iterating raises it too,
        where a file turns out to be damaged further in.
    """
    path, rate = Path(path), Fraction(float(frame_rate)).limit_denominator(1001)
    if path.is_dir():
        video: Video = _Folder(path, rate)
    elif not path.exists():
        raise UserError(f"{path} does not exist; {_EXPECTED}")
    elif not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder; {_EXPECTED}")
    else:
        try:
            video = _Animation(path, rate)
        except UnidentifiedImageError:
            video = _File(path)
    video.limit = frames
    if frames and video.length:
        video.length = min(video.length, frames)
    return video


def read_video(
    path: str | Path, frames: int | None = None
) -> tuple[UInt8[np.ndarray, "F H W 3"], Fraction]:
    """All frames at once, and the frame rate; see `open_video`."""
    video = open_video(path, frames=frames)
    return np.stack([frame for frame, _ in video]), video.frame_rate
