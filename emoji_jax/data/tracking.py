"""Follows a face through a video and divides it where the face or the shot changes."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from emoji_jax.errors import UserError
from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks

_THUMBNAIL = 48


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """What counts as one clip.

    Attributes:
      several: "largest" follows the largest face of a shot, "reject" drops shots with several.
      second_face: height, compared to the face that is followed, from which another one counts.
      crowded: part of a clip's frames with another face from which the clip has several.
      max_gap: frames in a row without a face that are filled in.
      min_frames: shorter clips are dropped.
      max_frames: longer ones are divided.
      jump: a face that moves further from one frame to the next, in face heights, is another one.
      size_jump: so is one that grows or shrinks by more than this factor.
      change: mean change of all pixels, of their range, that makes a cut.
    """

    several: str = "largest"
    second_face: float = 0.5
    crowded: float = 0.1
    max_gap: int = 5
    min_frames: int = 16
    max_frames: int = 128
    jump: float = 0.5
    size_jump: float = 1.4
    change: float = 0.2

    def __post_init__(self) -> None:
        if self.several not in ("largest", "reject"):
            raise UserError(f"config.track.several is {self.several!r}; expected largest or reject")
        if not 1 <= self.min_frames <= self.max_frames:
            raise UserError(
                f"config.track.min_frames is {self.min_frames} and max_frames {self.max_frames}; "
                "expected 1 or more, and no more than max_frames"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """One face in F frames.

    Attributes:
      numbers: of the frames in the video, rising; without gaps, unless frames are separate.
      points: [F 478 3] as in `Landmarks`, for the whole picture.
      blendshapes: [F 51].
      times: [F] seconds.
      detected: [F] False where filled in.
      size: height and width of the picture.
    """

    numbers: tuple[int, ...]
    points: np.ndarray
    blendshapes: np.ndarray
    times: np.ndarray
    detected: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.points)


@dataclasses.dataclass
class _Frame:
    points: np.ndarray
    blendshapes: np.ndarray
    time: float
    number: int
    detected: bool = True
    others: bool = False


class Tracker:
    """Divides a video into tracks; iterate once. Memory: the landmarks of `max_frames` frames.

    Attributes:
      frames: how many were read.
      dropped: why frames are in no track, and how many each.
    """

    def __init__(
        self,
        frames: Iterable[tuple[Picture, float]],
        detect: Callable[[Picture], list[Landmarks]],
        config: TrackConfig,
        *,
        separate: bool = False,
    ):
        """Nothing is read yet.

        Args:
          frames: pictures and their times.
          detect: returns the faces of a picture, the largest first.
          config: what counts as one clip.
          separate: the frames are pictures by themselves, of one face: those without it are
            dropped, where a video's would be filled in or divide it. All landmarks are kept first.
        """
        self.frames = 0
        self.dropped: Counter[str] = Counter()
        self._source, self._detect, self._config = frames, detect, config
        self._separate = separate
        self._size = (0, 0)
        self._track: list[_Frame] = []
        self._missing: list[tuple[int, float]] = []

    def __iter__(self) -> Iterator[Track]:
        return self._gather() if self._separate else self._follow()

    def _follow(self) -> Iterator[Track]:
        config, before = self._config, None
        for number, (picture, time) in enumerate(self._source):
            small = _thumbnail(picture)
            if before is not None and np.abs(small - before).mean() > config.change:
                yield from self._close()
            before = small

            face = self._find(number, picture, time)
            if face is None:
                self._missing.append((number, time))
                if not self._track or len(self._missing) > config.max_gap:
                    yield from self._close()
                continue
            if self._track and self._differ(self._box(self._track[-1]), self._box(face)):
                yield from self._close()
            self._fill(face)
            yield from self._add(face)
        yield from self._close()

    def _gather(self) -> Iterator[Track]:
        faces = [self._find(number, *frame) for number, frame in enumerate(self._source)]
        found = [face for face in faces if face is not None]
        self.dropped["no face"] += len(faces) - len(found)
        if found:
            centres, heights = zip(*(self._box(face) for face in found), strict=True)
            usual = np.median(centres, axis=0), float(np.median(heights))
        for face in found:
            if self._differ(usual, self._box(face)):
                self.dropped["another face"] += 1
            else:
                yield from self._add(face)
        yield from self._close()

    def _find(self, number: int, picture: Picture, time: float) -> _Frame | None:
        self.frames, self._size = number + 1, (picture.shape[0], picture.shape[1])
        return self._choose(self._detect(picture), number, time)

    def _add(self, face: _Frame) -> Iterator[Track]:
        self._track.append(face)
        # What is left over must not be too short.
        while len(self._track) >= self._config.max_frames + self._config.min_frames:
            yield from self._cut(self._config.max_frames)

    def _choose(self, found: list[Landmarks], number: int, time: float) -> _Frame | None:
        if not found:
            return None
        boxes = [_box(face.points[0], self._size) for face in found]
        chosen = 0
        if self._track:
            # Two faces of about the same size would otherwise take turns.
            last, _ = self._box(self._track[-1])
            chosen = int(np.argmin([np.linalg.norm(centre - last) for centre, _ in boxes]))
            distance = np.linalg.norm(boxes[chosen][0] - last)
            if distance > self._config.jump * boxes[chosen][1]:
                chosen = 0
        centre, height = boxes[chosen]
        others = any(
            other > self._config.second_face * height
            # The detector may report one face twice.
            and np.linalg.norm(place - centre) > 0.5 * max(height, other)
            for place, other in boxes
        )
        face = found[chosen]
        return _Frame(face.points[0], face.blendshapes[0], time, number, others=others)

    def _box(self, face: _Frame) -> tuple[np.ndarray, float]:
        return _box(face.points, self._size)

    def _differ(self, one: tuple[np.ndarray, float], two: tuple[np.ndarray, float]) -> bool:
        """Whether two boxes are too far apart for one face, or too different in size."""
        (before, height_before), (after, height_after) = one, two
        ratio = max(height_before, height_after) / max(min(height_before, height_after), 1e-6)
        distance = float(np.linalg.norm(after - before)) / max(height_before, height_after)
        return distance > self._config.jump or ratio > self._config.size_jump

    def _fill(self, face: _Frame) -> None:
        """Interpolates the frames that are missing before a face that was found again."""
        if not self._missing:
            return
        last, count = self._track[-1], len(self._missing)
        for i, (number, time) in enumerate(self._missing):
            weight = np.float32((i + 1) / (count + 1))
            points = last.points * (1 - weight) + face.points * weight
            scores = last.blendshapes * (1 - weight) + face.blendshapes * weight
            self._track.append(_Frame(points, scores, time, number, detected=False))
        self._missing = []

    def _lose(self) -> None:
        self.dropped["no face"] += len(self._missing)
        self._missing = []

    def _close(self) -> Iterator[Track]:
        self._lose()
        length, half = len(self._track), len(self._track) // 2
        if length > self._config.max_frames:
            halves = half >= self._config.min_frames
            yield from self._cut(half if halves else self._config.max_frames)
        if self._track:
            yield from self._cut(len(self._track))

    def _cut(self, count: int) -> Iterator[Track]:
        """Takes the first frames off the track."""
        part, self._track = self._track[:count], self._track[count:]
        if count < self._config.min_frames:
            self.dropped["too short"] += count
        elif self._config.several == "reject" and (
            sum(frame.others for frame in part) > self._config.crowded * count
        ):
            self.dropped["several faces"] += count
        else:
            yield Track(
                tuple(frame.number for frame in part),
                np.stack([frame.points for frame in part]).astype(np.float32),
                np.stack([frame.blendshapes for frame in part]).astype(np.float32),
                np.array([frame.time for frame in part], np.float64),
                np.array([frame.detected for frame in part], bool),
                self._size,
            )


def _box(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Centre and height of a face, pixels."""
    pixels = points[:, :2] * [size[1], size[0]]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return (low + high) / 2, float(high[1] - low[1])


def _thumbnail(picture: Picture) -> np.ndarray:
    """A few pixels of a picture, in [0, 1]."""
    rows, columns = (np.linspace(0, n - 1, _THUMBNAIL).astype(int) for n in picture.shape[:2])
    return picture[rows[:, None], columns].astype(np.float32) / 255
