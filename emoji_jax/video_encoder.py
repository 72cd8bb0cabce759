"""Pictures and sound into one file, by FFmpeg's libraries; see `video_writer`."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from emoji_jax.errors import UserError
from emoji_jax.images import Picture

# At least; what MPEG uses.
_TICKS_PER_SECOND = 90_000
# Per container: codec for the pictures, codecs of sound it takes as they are, codec for others.
CONTAINERS = {
    ".mp4": ("libx264", ("aac", "mp3", "ac3", "alac"), "aac"),
    ".mov": ("libx264", ("aac", "mp3", "ac3", "alac"), "aac"),
    ".mkv": ("libx264", ("aac", "mp3", "ac3", "alac", "opus", "vorbis", "flac"), "aac"),
    ".webm": ("libvpx-vp9", ("opus", "vorbis"), "libopus"),
}
_QUALITY = {
    "libx264": {"crf": "16", "preset": "medium"},
    "libvpx-vp9": {"crf": "24", "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"},
}


def write_errors() -> tuple[type[Exception], ...]:
    """What FFmpeg and the file system raise where a place can't be written to."""
    from av.error import FFmpegError

    return (FFmpegError, OSError)


class Encoder:
    """FFmpeg's libraries, pictures and sound interleaved."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: Fraction,
        audio: Path | None,
        start: float,
        comment: str | None = None,
    ):
        import av

        codec, kept, other = CONTAINERS[path.suffix.lower()]
        self.size = tuple(side + side % 2 for side in size)
        self.interval = float(1 / rate)
        self.container = av.open(str(path), "w")
        if comment:
            self.container.metadata["comment"] = comment
        self.stream = self.container.add_stream(codec, rate, options=_QUALITY[codec])
        self.stream.height, self.stream.width = self.size
        self.stream.pix_fmt = "yuv420p"
        # A frame lasts a whole number of ticks, or else players find another frame rate.
        self.ticks = rate.numerator * math.ceil(_TICKS_PER_SECOND / rate.numerator)
        self.stream.codec_context.time_base = Fraction(1, self.ticks)
        # HDTV's matrix, and said so: players guess otherwise, each in its own way.
        context = self.stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        self.sound = _Sound(self.container, audio, kept, other, start) if audio else None
        self.end = 0.0

    def write(self, frame: Picture, time: float) -> None:
        """Adds a frame, shown from `time` seconds after the first on."""
        import av

        height, width = self.size
        padding = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
        picture = av.VideoFrame.from_ndarray(np.pad(frame, padding, "edge"), "rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        picture.pts, picture.time_base = round(time * self.ticks), Fraction(1, self.ticks)
        self.end = time + self.interval
        self._mux(self.stream.encode(picture))
        if self.sound:
            self._mux(self.sound.until(time))

    def finish(self) -> None:
        """Writes what is still held back, and closes the file."""
        self._mux(self.stream.encode(None))
        if self.sound:
            self._mux(self.sound.until(self.end))
            self._mux(self.sound.rest())
        self.container.close()

    def abandon(self) -> None:
        """Closes the file as it is."""
        if self.sound:
            self.sound.close()
        self.container.close()

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self.container.mux(packet)


class _Sound:
    """The sound of another file, from `start` on: copied where the container takes its codec."""

    def __init__(self, container: Any, path: Path, kept: tuple[str, ...], other: str, start: float):
        import av

        try:
            self.source = av.open(str(path))
        except write_errors() as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"the sound of {path} can't be read: {reason}") from None
        if not self.source.streams.audio:
            raise UserError(f"{path} has no sound")
        self.start = start
        stream = self.source.streams.audio[0]
        if stream.codec_context.name in kept:
            self.stream = container.add_stream_from_template(stream)
            self.resampler = None
            self.packets = self._copied(stream)
        else:
            rate = 48_000
            self.stream = container.add_stream(other, rate)
            self.resampler = av.AudioResampler(self.stream.format, "stereo", rate)
            self.packets = self._encoded(stream, self.resampler)
        self.next: tuple[float, Any] | None = next(self.packets, None)

    def until(self, time: float) -> Iterator[Any]:
        """Packets that begin before a time, seconds from the start of the output."""
        while self.next is not None and self.next[0] < time:
            yield self.next[1]
            self.next = next(self.packets, None)

    def rest(self) -> Iterator[Any]:
        """What an encoder still holds back."""
        if self.resampler is not None:
            yield from self.stream.encode(None)

    def close(self) -> None:
        """Closes the source."""
        self.source.close()

    def _copied(self, stream: Any) -> Iterator[tuple[float, Any]]:
        shift = round(self.start / stream.time_base)
        for packet in self.source.demux(stream):
            # A decoder needs what comes before zero, too, which the container says to leave out.
            if packet.pts is None or 0 < shift >= packet.pts + packet.duration:
                continue
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = self.stream
            yield float(packet.pts * stream.time_base), packet

    def _encoded(self, stream: Any, resampler: Any) -> Iterator[tuple[float, Any]]:
        for frame in self.source.decode(stream):
            if frame.time is not None and frame.time < self.start:
                continue
            for piece in resampler.resample(frame):
                time = float(piece.pts * piece.time_base) - self.start
                piece.pts = round(time * resampler.rate)
                piece.time_base = Fraction(1, resampler.rate)
                for packet in self.stream.encode(piece):
                    yield time, packet
