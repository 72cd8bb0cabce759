"""HDTF (CVPR 2021) as distributed: lists of videos, spans and regions; the videos beside them.

`RD_annotion_time.txt`: video.mp4 00:30-01:00 01:30-02:30; `RD_crop_wh.txt`: video_0.mp4 left width
top height; `RD_resolution.txt`: video.mp4 720; `RD_video_url.txt`: video URL; WDA, WRA likewise.
The videos may be whole (`video.mp4`) or already divided (`video_0.mp4`), in any subfolder.
"""

from collections.abc import Iterator
from pathlib import Path

from emoji_jax.data.datasets import ReaderConfig, Unit, inputs, printable, relative
from emoji_jax.errors import UserError

_VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi"}
_LICENCE = "videos belong to whoever published them; see the terms of HDTF"


def units(root: Path, config: ReaderConfig) -> Iterator[Unit]:
    """One input per annotated span. A video is one identity, however many spans it has.

    Raises:
      UserError: there are no annotations.
    """
    paths = sorted(inputs(root))
    times = [path for path in paths if path.name.endswith("_annotion_time.txt")]
    if not times:
        raise UserError(f"{root} has no HDTF annotations; expected files like RD_annotion_time.txt")
    videos = {printable(path.stem): path for path in paths if path.suffix.lower() in _VIDEOS}
    annotated = set()
    for annotation in times:
        subset = annotation.name.removesuffix("_annotion_time.txt")
        boxes, heights, links = (
            _table(annotation.with_name(f"{subset}_{kind}.txt"))
            for kind in ("crop_wh", "resolution", "video_url")
        )
        for video, spans in _table(annotation).items():
            source = " ".join(["HDTF", subset, *links.get(video, [])[:1]])
            for index, text in enumerate(spans):
                part = f"{video}_{index}"
                annotated |= {video, part}
                span, refused = _span(text), ""
                path = videos.get(part)
                if path is not None:
                    span = None
                elif video not in videos:
                    refused = "video is missing"
                elif span is None:
                    refused = f"time span {text!r} can't be read"
                path = path or videos.get(video)
                box = _box(boxes.get(part, []), heights.get(video, []))
                yield Unit(
                    f"{subset}/{part}",
                    str(path or root / f"{video}.mp4"),
                    identity=f"HDTF {video}",
                    source=source,
                    licence=_LICENCE,
                    span=span,
                    box=box,
                    refused=refused,
                )
    for stem in sorted(videos.keys() - annotated):
        name = relative(videos[stem], root)
        yield Unit(name, str(videos[stem]), identity=f"HDTF {stem}", refused="not annotated")


def _table(path: Path) -> dict[str, list[str]]:
    """Lines of a file: what follows a name, by the name."""
    if not path.is_file():
        return {}
    lines = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    return {printable(line[0].removesuffix(".mp4")): line[1:] for line in lines if line}


def _span(text: str) -> tuple[float, float] | None:
    try:
        start, end = (
            sum(float(part) * 60**i for i, part in enumerate(reversed(time.split(":"))))
            for time in text.split("-")
        )
    except ValueError:
        return None
    return (start, end) if end > start else None


def _box(words: list[str], height: list[str]) -> tuple[float, float, float, float] | None:
    """A region in picture heights: the video may have been fetched at another resolution."""
    try:
        left, width, top, tall = (float(word) for word in words)
        scale = float(height[0])
    except (ValueError, IndexError):
        return None
    return (left / scale, top / scale, width / scale, tall / scale) if scale > 0 else None
