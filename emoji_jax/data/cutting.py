"""Cuts clips of one face out of one input, which is read as a stream."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from emoji_jax.data.clips import Clip, encode_picture
from emoji_jax.data.crop import CropConfig, choose_box, crop, crop_landmarks, roll
from emoji_jax.data.datasets import Unit
from emoji_jax.data.tracking import TrackConfig, Tracker
from emoji_jax.errors import UserError
from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks
from emoji_jax.video import open_video

Detect = Callable[[Picture], list[Landmarks]]

_FORMAT = 1  # of parts; those of another one are made again


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What is made of the inputs.

    Attributes:
      track: what counts as one clip.
      crop: how clips are cropped.
      picture_format: of the frames, jpeg or webp.
      quality: of the frames, up to 100.
      attempts: at reading an input from a disk that fails for a moment.
      pause: seconds before the second attempt; doubled before each further one.
    """

    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    crop: CropConfig = dataclasses.field(default_factory=CropConfig)
    picture_format: str = "jpeg"
    quality: int = 92
    attempts: int = 4
    pause: float = 1.0

    def __post_init__(self) -> None:
        if self.picture_format not in ("jpeg", "webp") or not 1 <= self.quality <= 100:
            raise UserError(
                f"config.pictures asks for {self.picture_format!r} of quality {self.quality}; "
                "expected jpeg or webp, and 1 to 100"
            )
        if self.attempts < 1 or self.pause < 0:
            raise UserError(
                f"config.reading has attempts={self.attempts} and pause={self.pause}; expected at "
                "least 1, and 0 or more"
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with whatever changes the records."""
        options = dataclasses.asdict(self)
        del options["attempts"], options["pause"]
        return json.dumps([_FORMAT, options], sort_keys=True)


def frames_of(unit: Unit) -> Iterator[tuple[Picture, float]]:
    """The frames of an input that its reader points at, and when each is shown.

    Raises:
      UserError: they can't be read, or there are none.
    """
    count = 0
    start, end = unit.span or (0.0, np.inf)
    if unit.drawing is not None:
        frames = unit.drawing.frames()
    else:
        frames = iter(open_video(unit.path, frame_rate=unit.frame_rate))
    for picture, moment in frames:
        if moment >= end:
            break
        if moment >= start:
            count += 1
            yield _part(picture, unit.box), moment
    if not count:
        raise UserError(f"{unit.path} has no frames between {start:g} s and {end:g} s")


def _part(
    picture: Picture, box: tuple[float, float, float, float] | None
) -> UInt8[np.ndarray, "h w 3"]:
    if box is None:
        return picture
    height, width = picture.shape[:2]
    left, top, wide, tall = (round(v * height) for v in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return picture[top : max(top + tall, top + 1), left : max(left + wide, left + 1)]


def make_clips(
    unit: Unit, detect: Detect, config: PrepareConfig, account: dict[str, Any]
) -> Iterator[Clip]:
    """The clips of an input, one after the other; memory does not grow with its length.

    Args:
      unit: the input.
      detect: returns the faces of a picture, the largest first.
      config: what is wanted.
      account: gains the number of frames, and of those dropped by reason.
    """
    if unit.painting is not None:
        painted = _painted(unit, config)
        account |= {"read": len(painted), "dropped": {}}
        yield painted
        return
    tracker = Tracker(frames_of(unit), detect, config.track, separate=unit.separate)
    dropped = tracker.dropped
    # A second reader stays behind the first, which has to see a whole clip before it is cropped.
    again = enumerate(frames_of(unit))
    for track in tracker:
        pixels = track.points[..., :2] * np.array(track.size[::-1], np.float64)
        box = choose_box(pixels, track.size, config.crop)
        if isinstance(box, str):
            dropped[box] += len(track)
            continue
        landmarks = crop_landmarks(
            track.points, track.blendshapes, track.times, track.size, box, config.crop.size
        )
        if roll(landmarks) > config.crop.largest_roll:
            dropped["upside down"] += len(track)
            continue
        wanted, last = set(track.numbers), track.numbers[-1]
        pictures = []
        for number, (picture, _) in again:
            if number in wanted:
                cut = crop(picture, box, config.crop.size)
                pictures.append(encode_picture(cut, config.picture_format, config.quality))
            if number == last:
                break
        yield Clip(
            frames=tuple(pictures),
            landmarks=landmarks,
            detected=track.detected,
            box=(box.left, box.top, box.side),
            name=f"{unit.name}#{track.numbers[0]:06d}",
            identity=unit.identity,
            source=unit.source,
            licence=unit.licence,
            expression=unit.expression,
        )
    account |= {"read": tracker.frames, "dropped": {k: n for k, n in sorted(dropped.items()) if n}}


def _painted(unit: Unit, config: PrepareConfig) -> Clip:
    """A clip that comes with its landmarks."""
    assert unit.painting is not None
    side = config.crop.size
    pictures, landmarks = unit.painting.clip(side)
    return Clip(
        frames=tuple(
            encode_picture(picture, config.picture_format, config.quality) for picture in pictures
        ),
        landmarks=landmarks,
        detected=np.ones(len(pictures), bool),
        box=(0, 0, side),
        name=f"{unit.name}#000000",
        identity=unit.identity,
        source=unit.source,
        licence=unit.licence,
        expression=unit.expression,
    )
