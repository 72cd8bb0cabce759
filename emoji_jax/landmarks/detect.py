"""Finds faces with MediaPipe's face landmarker (arXiv 2406.01900, section 3.1, uses the same)."""

import atexit
import contextlib
import os
import pathlib
import re
import sys
import tempfile
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax.disk import Rows, chunks
from emoji_jax.errors import UserError
from emoji_jax.landmarks import topology
from emoji_jax.landmarks.geometry import solve
from emoji_jax.landmarks.template import Landmarks
from emoji_jax.landmarks.timing import gather

Choice = Literal["largest", "leftmost"] | int
"""One of several faces: the largest, that on the left, or its number from the left, from 0."""

MODEL = "face_landmarker.task"
"""The landmark model's name in `emoji_jax.assets`."""


# Remarks at every start that tell a user nothing.
_CHATTER = re.compile(
    rb"All log messages before absl::InitializeLog|Created TensorFlow Lite XNNPACK delegate"
    rb"|face_landmarker_graph\.cc.*xnnpack by default|Feedback manager requires a model"
)


_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _leave_open() -> None:
    """What is still open when the interpreter ends is freed with it; closing would complain."""
    for landmarker in _OPEN:
        landmarker.close = lambda: None


class Detector:
    """Face landmarks of single pictures, every one for itself (MediaPipe's image mode).

    Its video mode is faster but smooths over time, which moves points by 1.4 pixels on average and
    makes a frame depend on those before it. Use as a context manager, or call `close`.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None, *, num_faces: int = 4):
        """Loads the model.

        Args:
          model_path: a face landmarker model with blendshapes (`.task`); fetched if not given.
          num_faces: how many faces to look for, to choose the largest from.

        Raises:
          UserError: if MediaPipe is not installed, or the model cannot be had or read.
        """
        if model_path is None:
            from emoji_jax.assets import fetch

            model_path = fetch(MODEL)
        model_path = pathlib.Path(model_path)
        self._mediapipe = mediapipe = _import_mediapipe()
        tasks = mediapipe.tasks
        try:
            # Read here: MediaPipe's own message for a missing file names a line of its C++ code.
            model = model_path.read_bytes()
            options = tasks.vision.FaceLandmarkerOptions(
                base_options=tasks.BaseOptions(model_asset_buffer=model),
                num_faces=num_faces,
                output_face_blendshapes=True,
            )
            with _without_chatter():
                self._landmarker = tasks.vision.FaceLandmarker.create_from_options(options)
                # MediaPipe's own __del__ waits for a thread that a garbage collection may have
                # taken away before; so it is closed before it can become garbage.
                self._close = weakref.finalize(self, self._landmarker.close)
                self._close.atexit = False  # its thread is gone by then
                _OPEN.add(self._landmarker)
                self._find(np.zeros((64, 64, 3), np.uint8))  # some remarks come with the first use
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"cannot read the landmark model {model_path}: {reason}") from error

    def __enter__(self) -> "Detector":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Frees the model; nothing can be detected any more."""
        self._close()

    def detect_all(
        self, image: UInt8[np.ndarray, "H W 3"], *, time: float = 0.0
    ) -> list[Landmarks]:
        """Returns every face found in an RGB picture, one frame each, the largest first."""
        faces, scores = self._find(image)
        size = (image.shape[0], image.shape[1])
        return [
            _landmarks(face[None], score[None], size, np.array([time]))
            for face, score in zip(faces, scores, strict=True)
        ]

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, time: float = 0.0) -> Landmarks | None:
        """Returns the largest face in an RGB picture, as one frame; None if there is none."""
        return next(iter(self.detect_all(image, time=time)), None)

    def detect_video(
        self,
        frames: Iterable[tuple[UInt8[np.ndarray, "H W 3"], float]],
        *,
        max_gap: int = 15,
        choice: Choice = "largest",
        name: str = "the video",
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Landmarks, Int[np.ndarray, " N"], Int[np.ndarray, " M"]]:
        """Follows one face through a video: chosen where it starts, then always the nearest.

        Where no face is found, points and blendshapes are interpolated from the frames before and
        after, by frame number; at either end the nearest ones are held.

        Args:
          frames: RGB pictures of one size and when each is shown, in seconds; taken one by one,
            never kept.
          max_gap: how many frames in a row may be without a face.
          choice: which face where it starts.
          name: of the video, for messages.
          progress: called after every frame with the number of frames done.

        Returns:
          The landmarks of every frame, the numbers of the frames that were filled in, and of those
          that show other faces too.

        Raises:
          UserError: if there is no frame, no face at all or none for too long, or if sizes differ.
        """
        moments: list[float] = []
        found: list[int] = []
        points = Rows((topology.POINTS, 3), np.float32)
        scores = Rows((len(topology.BLENDSHAPES),), np.float32)
        size, count, last, crowded, alone = (0, 0), 0, None, [], False
        for i, (frame, time) in enumerate(frames):
            moments.append(time)
            if i == 0:
                size = (frame.shape[0], frame.shape[1])
            if frame.shape[:2] != size:
                raise UserError(
                    f"frame {i} is {frame.shape[1]}x{frame.shape[0]}, those before it are "
                    f"{size[1]}x{size[0]}"
                )
            faces, expressions = self._find(frame)
            if len(faces):
                pixels = faces[..., :2] * [size[1], size[0]]
                centres, widths = pixels.mean(axis=1), np.ptp(pixels[..., 0], axis=1)
                # Two faces of about the same size would otherwise take turns.
                if last is None:
                    last = centres[choose(centres, choice, "motion.face", name)]
                ways = np.linalg.norm(centres - last, axis=1)
                nearest = int(ways.argmin())
                if len(faces) > 1:
                    crowded.append(i)
                # Farther than it is wide it is somebody else, while the one followed is hidden; but
                # a lone face right after a lone one is the same in the next scene.
                cut = alone and len(faces) == 1 and found[-1] == i - 1
                alone = len(faces) == 1
                if ways[nearest] <= widths[nearest] or cut or i - found[-1] > max_gap:
                    last = centres[nearest]
                    found.append(i)
                    points.append(faces[nearest][None])
                    scores.append(expressions[nearest][None])
            count = i + 1
            if progress:
                progress(count)
        if not count:
            raise UserError("the video has no frames")
        times = np.array(moments, np.float64)
        _check_gaps(found, times, max_gap, name)
        known, seen, expressive = np.array(found), points.array(), scores.array()
        landmarks = gather(
            _landmarks(
                _interpolate(known, seen, frames),
                _interpolate(known, expressive, frames),
                size,
                times[frames],
            )
            for frames in chunks(count)
        )
        filled = np.setdiff1d(np.arange(count), known)
        return landmarks, filled, np.array(crowded, np.int64)

    def _find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns points [N 478 3] and blendshapes [N 51] of the faces found, largest first."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected uint8 [H W 3], got {image.dtype} {list(image.shape)}")
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        result = self._landmarker.detect(picture)
        points = np.array(
            [[(p.x, p.y, p.z) for p in face] for face in result.face_landmarks], np.float32
        ).reshape(-1, topology.POINTS, 3)
        # The first score, `_neutral`, says nothing: it is next to zero for every face.
        scores = np.array(
            [[category.score for category in face[1:]] for face in result.face_blendshapes],
            np.float32,
        ).reshape(-1, len(topology.BLENDSHAPES))
        order = np.argsort(-np.ptp(points[..., :2], axis=1).prod(axis=1), kind="stable")
        return points[order], scores[order]


def _landmarks(
    points: np.ndarray, scores: np.ndarray, size: tuple[int, int], times: np.ndarray
) -> Landmarks:
    pose, vertices = solve(points, size)
    return Landmarks(points, vertices, pose, scores, size, np.asarray(times, np.float64))


def choose(centres: Float[np.ndarray, "N 2"], choice: Choice, option: str, name: str) -> int:
    """The index of one of several faces, which are sorted by size.

    Args:
      centres: of the faces.
      choice: which.
      option: whose choice it is, and
      name: what shows the faces, for messages.

    Raises:
      UserError: there are not so many.
    """
    if choice == "largest":
        return 0
    number = 0 if choice == "leftmost" else choice
    if not 0 <= number < len(centres):
        known = "1 face, number 0" if len(centres) == 1 else f"faces 0 to {len(centres) - 1}"
        raise UserError(f"{option} is {number}; {name} shows {known}")
    return int(np.argsort(centres[:, 0], kind="stable")[number])


def _interpolate(known: np.ndarray, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Values at `frames` from values [N ...] of the frames `known`, which stay as they are."""
    after = np.searchsorted(known, frames).clip(max=len(known) - 1)
    before = np.where(known[after] == frames, after, np.maximum(after - 1, 0))
    before = np.where(frames > known[-1], after, before)
    span = known[after] - known[before]
    weight = np.where(span > 0, (frames - known[before]) / np.maximum(span, 1), 0)
    weight = weight.reshape(-1, *[1] * (values.ndim - 1))
    return (values[before] * (1 - weight) + values[after] * weight).astype(values.dtype)


def _check_gaps(known: list[int], times: np.ndarray, max_gap: int, name: str) -> None:
    """Raises a UserError if more than `max_gap` frames in a row are not among `known`."""
    if not known:
        if len(times) == 1:
            raise UserError(f"{name}: no face found")
        raise UserError(
            f"{name}: no face found in any of the {len(times)} frames "
            f"({times[0]:.2f} s to {times[-1]:.2f} s)"
        )
    for before, after in zip([-1, *known], [*known, len(times)], strict=True):
        missing = after - before - 1
        if missing > max_gap:
            first, last = before + 1, after - 1
            raise UserError(
                f"{name}: no face found in {missing} frames in a row, {first} to {last} "
                f"({times[first]:.2f} s to {times[last]:.2f} s); motion.max_gap={max_gap} of them "
                "can be filled in: raise it, or cut them out of the video"
            )


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Holds standard error back and then lets everything pass but `_CHATTER`.

    MediaPipe's C++ library writes to the file descriptor itself, and no flag or environment
    variable of its Python package reaches its logging.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _CHATTER.search(line):
                    os.write(2, line)


def _import_mediapipe() -> Any:
    try:
        with _stand_ins("cv2", "matplotlib", "matplotlib.pyplot", "sounddevice"):
            import mediapipe
            import mediapipe.tasks.python.vision
    except ImportError as error:
        raise UserError(
            f"landmark detection needs MediaPipe, which cannot be imported: {error}"
        ) from error
    return mediapipe


@contextlib.contextmanager
def _stand_ins(*names: str) -> Iterator[None]:
    """Puts empty modules in the place of those not imported yet, and takes them away again.

    MediaPipe imports OpenCV, matplotlib and sounddevice for helpers that draw and record, which
    nothing here uses. They need system libraries (libGL, PortAudio) that a plain installation of
    Debian lacks, and their import would fail, or take a second.
    """
    added = [name for name in names if name not in sys.modules]
    sys.modules.update({name: types.ModuleType(name) for name in added})
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
