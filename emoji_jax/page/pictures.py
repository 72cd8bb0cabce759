"""What the page shows without networks: landmarks, and the driver beside a result."""

import base64
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from emoji_jax.animation import Animation
from emoji_jax.data.synthetic import EXPRESSIONS
from emoji_jax.driver import Driver, expression
from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks, draw
from emoji_jax.video import open_video

# Pixels and frames of a moving preview: what is drawn and packed in less than a tenth of a second.
_SIDE, _FRAMES = 288, 18
_TILE, _TILE_FRAMES = 96, 16


def overlaid(picture: Picture, points: Float[np.ndarray, "N 478 2"]) -> Picture:
    """A picture, darkened, with landmarks on it.

    Args:
      picture: RGB.
      points: of any number of faces, in its pixels.
    """
    shown = picture // 2
    for face in points:
        (shown,) = _over(shown, _thick(_lines(face[None], picture.shape[:2])))
    return shown


def of_portrait(animation: Animation) -> str:
    """The portrait with the landmarks of its faces, as an address that holds it."""
    faces = []
    for actor in animation.actors:
        assert actor.pictures.portrait is not None
        view, points = actor.view, actor.pictures.portrait[1]
        scale = np.divide(view.extent[::-1], view.size[::-1])
        faces.append(points * scale + [view.left, view.top])
    picture = animation.picture
    scale = _SIDE / max(picture.shape[:2])
    small = resized(picture, scale)
    return address([overlaid(small, np.stack(faces) * scale)])


def of_motion(animation: Animation) -> str:
    """The aligned landmarks moving over the portrait; of several faces, side by side."""
    count = len(animation)
    frames = np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).round().astype(int))
    rows = []
    for actor in animation.actors:
        scale = _SIDE / actor.reference.shape[0]
        base = resized(actor.reference, scale)
        points = actor.pictures.points[frames + actor.pictures.first] * scale
        rows.append(_over(base // 2, _thick(_lines(points, base.shape[:2]))))
    times = animation.times[frames]
    step = (times[-1] - times[0]) / max(len(frames) - 1, 1)
    return address(list(np.concatenate(rows, 2)), np.append(np.diff(times), step))


def tiles() -> Iterator[tuple[str, str]]:
    """Names of the built-in expressions, each with a moving preview of it."""
    for name in EXPRESSIONS:
        motion = expression(name, _TILE_FRAMES)
        # A face takes half of the picture; here it may take more.
        points = (motion.points[..., :2].astype(np.float64) - 0.5) * 1.5 + 0.5
        moving = _thick(_lines(points * _TILE, (_TILE, _TILE)))
        yield name, address(list(moving), np.full(_TILE_FRAMES, 2 / _TILE_FRAMES))


def of_driver(
    driver: Driver, source: str | Path, height: int, frame_rate: float
) -> Iterator[Picture]:
    """What drives each frame of a result, at some height: the video's frames, else landmarks.

    Args:
      driver: what was read of it.
      source: what it was read from.
      height: in pixels.
      frame_rate: of sources that do not say.
    """
    if Path(source).is_file() and Path(source).suffix.lower() not in (".npz", ".npy"):
        for frame in _at(source, driver.moments, frame_rate):
            yield resized(frame, height / frame.shape[0])
        return
    for i in range(len(driver.landmarks)):
        one: Landmarks = driver.landmarks[i]
        scale = height / one.size[0]
        size = (height, round(one.size[1] * scale))
        yield _thick(_lines(one.pixels * scale, size))[0]


def _at(path: str | Path, moments: Float[np.ndarray, " N"], frame_rate: float) -> Iterator[Picture]:
    """The frames that a video shows at these times; it is read anew where they go back."""
    video = open_video(path, frame_rate=Fraction(frame_rate).limit_denominator(1001))
    before, frames, now, later = np.inf, iter(video), None, None
    for moment in moments:
        if moment < before:
            frames = iter(video)
            now, later = next(frames), next(frames, None)
        while later is not None and later[1] <= moment + 1e-6:
            now, later = later, next(frames, None)
        before = moment
        assert now is not None
        yield now[0]


def address(frames: Sequence[Picture], seconds: Float[np.ndarray, " N"] | None = None) -> str:
    """Pictures, still or moving, as an address that holds them: nothing lies on disk."""
    return "data:image/webp;base64," + base64.b64encode(_packed(frames, seconds)).decode()


def _packed(frames: Sequence[Picture], seconds: Float[np.ndarray, " N"] | None = None) -> bytes:
    first, *rest = map(Image.fromarray, frames)
    file = io.BytesIO()
    options: dict = {"quality": 75, "method": 0}
    if rest and seconds is not None:
        each = np.maximum(np.round(seconds * 1000), 20).astype(int).tolist()
        options |= {"save_all": True, "append_images": rest, "duration": each, "loop": 0}
    first.save(file, "WEBP", **options)
    return file.getvalue()


def _lines(
    points: Float[np.ndarray, "N 478 2"], size: tuple[int, int]
) -> UInt8[np.ndarray, "N H W 3"]:
    return draw(points, size, contour=True, pupil_radius=max(size[0] / 160, 1))


def _thick(lines: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
    """Lines of two pixels, which can be seen on a phone."""
    thick = lines.copy()
    np.maximum(thick[:, 1:], lines[:, :-1], out=thick[:, 1:])
    np.maximum(thick[:, :, 1:], lines[:, :, :-1], out=thick[:, :, 1:])
    return thick


def _over(base: Picture, lines: UInt8[np.ndarray, "N H W 3"]) -> UInt8[np.ndarray, "N H W 3"]:
    """Lines on a picture: few pixels of many, of which no others are touched."""
    shown = np.repeat(base[None], len(lines), axis=0)
    drawn = (lines[..., 0] | lines[..., 1] | lines[..., 2]) > 0
    shown[drawn] = lines[drawn]
    return shown


def resized(picture: Picture, scale: float) -> UInt8[np.ndarray, "_ _ 3"]:
    """A picture with sides of other lengths."""
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
