"""Measures results, pair by pair."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from emoji_jax.bench import face
from emoji_jax.bench.folder import Bench, Clip, Pair
from emoji_jax.bench.methods import Task
from emoji_jax.errors import UserError
from emoji_jax.images import Picture
from emoji_jax.landmarks import Detector, Landmarks
from emoji_jax.landmarks.geometry import rotation
from emoji_jax.metrics import brisque, fvd, hyperiqa, identity, lpips
from emoji_jax.metrics import landmarks as faces
from emoji_jax.metrics.l1 import l1
from emoji_jax.metrics.ssim import ssim

THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(1, 21))


@dataclasses.dataclass(frozen=True)
class Column:
    """A number of the table: its heading, whether more is better, and what it is measured in."""

    heading: str
    more: bool
    kinds: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OwnWeights:
    """Networks of papers whose weights a user has; what is None is measured by a substitute.

    Attributes:
      arcface: an ONNX file, for identity.
      alexnet: for LPIPS.
      hyperiqa: for image quality.
    """

    arcface: Path | None = None
    alexnet: Path | None = None
    hyperiqa: Path | None = None


BOTH, SELF, CROSS = ("self", "cross"), ("self",), ("cross",)


class Measurement:
    """The networks and the landmarker that results are measured with.

    Raises:
      UserError: weights can't be had.
    """

    def __init__(self, bench: Bench, own: OwnWeights = OwnWeights()):
        self.bench = bench
        self._detector = Detector()
        self._lpips = lpips.LPIPS(own.alexnet)
        self._fvd = fvd.FVD()
        self._identity = identity.Identity(own.arcface)
        self._quality = hyperiqa.HyperIQA(own.hyperiqa) if own.hyperiqa else brisque.BRISQUE()
        self._drivers: dict[str, Landmarks] = {}
        self._truth: dict[str, np.ndarray] = {}
        self._guessed: dict[str, list[str]] = {}

    @staticmethod
    def columns_of(own: OwnWeights = OwnWeights()) -> dict[str, Column]:
        """What is measured, in the order of the paper's tables, then what they do not have."""
        quality = hyperiqa.NAME if own.hyperiqa else brisque.NAME
        near = f"landmark accuracy at {faces.THRESHOLD}"
        return {
            "l1": Column("L1", False, SELF),
            "ssim": Column("SSIM", True, SELF),
            "lpips": Column(lpips.heading(own.alexnet), False, SELF),
            "fvd": Column(fvd.NAME, False, SELF),
            "identity": Column(identity.heading(own.arcface), True, BOTH),
            "quality": Column(quality, own.hyperiqa is not None, BOTH),
            "accuracy": Column(near, True, BOTH),
            "expression": Column("expression error", False, BOTH),
            "pose": Column("head pose error, degrees", False, BOTH),
            "gaze": Column("gaze error, eye widths", False, BOTH),
            "jitter": Column("jitter", False, BOTH),
            "found": Column("faces found", True, BOTH),
        }

    def close(self) -> None:
        """Gives the landmarker back."""
        self._detector.close()

    def task(self, pair: Pair) -> Task:
        """A pair with the landmarks that every method gets.

        Raises:
          UserError: no face is found, where the benchmark says that there is one.
        """
        portrait, driver = self.bench.portrait(pair), self._driver(pair.driver)
        found = self.find(portrait)
        if found is None:
            raise UserError(f"{self.bench.folder}: no face is found in the portrait of {pair.name}")
        truth = self.bench.clip(pair.driver)[1:] if pair.kind == "self" else None
        return Task(pair, portrait, found, driver, truth)

    def _driver(self, name: str) -> Landmarks:
        """All frames' landmarks of a clip; where a face is missed, those of the frame before."""
        if name not in self._drivers:
            self._drivers[name] = self._read_driver(name)
        return self._drivers[name]

    def _read_driver(self, name: str) -> Landmarks:
        found: list[Landmarks] = []
        for frame in self.bench.clip(name):
            seen = self.find(frame)
            if seen is None and not found:
                raise UserError(f"{self.bench.folder}: no face is found at the start of {name}")
            if seen is None:
                self._guessed.setdefault(name, []).append(f"{name} {len(found)}")
            found.append(seen or found[-1])
        return _joined(found)

    def find(self, frame: Picture) -> Landmarks | None:
        """The face in a frame, with landmarks in its pixels."""
        return face.find(self._detector, frame)

    def measure(self, task: Task, frames: Clip) -> dict[str, Any]:
        """Of one result: a number for each column, `curve`, and `features` for FVD.

        A number is None where it can't be said, as without a face; faces that are not found are
        counted in `found`.
        """
        if len(frames) != len(task.driver) - 1:
            raise UserError(
                f"{task.pair.name} has {len(frames)} frames; expected {len(task.driver) - 1}"
            )
        told: dict[str, Any] = {"quality": self._quality(frames).mean()}
        if task.truth is not None:
            told["l1"] = l1(frames, task.truth).mean()
            told["ssim"] = ssim(frames, task.truth).mean()
            told["lpips"] = self._lpips(frames, task.truth).mean()
            told["features"] = self._fvd(frames).tolist()
            told["truth"] = self._features(task).tolist()
        found = [self.find(frame) for frame in frames]
        kept = [i for i, seen in enumerate(found) if seen is not None]
        told["found"] = len(kept) / len(frames)
        if kept:
            made = _joined([seen for seen in found if seen is not None])
            told |= self._of_faces(task, frames[kept], made, np.array(kept))
        told = {name: _number(value) for name, value in told.items()}
        guessed = self._guessed.get(task.pair.driver)
        return told | ({"guessed": guessed} if guessed else {})

    def _features(self, task: Task) -> np.ndarray:
        """The truth's, for FVD; every method is compared with the same."""
        if task.pair.name not in self._truth:
            assert task.truth is not None  # of pairs that are measured against one
            self._truth[task.pair.name] = self._fvd(task.truth)
        return self._truth[task.pair.name]

    def _of_faces(
        self, task: Task, frames: Clip, made: Landmarks, kept: np.ndarray
    ) -> dict[str, Any]:
        """What can be said where there are faces: `frames` and `made` are those frames only."""
        truth = _wanted(task, made, kept)
        near = faces.distances(made, truth)
        own = self._identity(task.portrait[None], task.face)[0]
        # Of frames that are found together with both of their neighbours.
        between = np.zeros(len(kept), bool)
        between[1:-1] = kept[2:] - kept[:-2] == 2
        jitter = faces.jitter(made)[between]
        return {
            "identity": (self._identity(frames, made) @ own).mean(),
            "accuracy": (near < faces.THRESHOLD).mean(),
            "curve": [float((near < threshold).mean()) for threshold in THRESHOLDS],
            "expression": faces.expression_error(made, truth).mean(),
            "pose": faces.pose_error(made, truth).mean(),
            "gaze": faces.gaze_error(made, truth).mean(),
            "jitter": jitter.mean() if len(jitter) else np.nan,
        }


def _wanted(task: Task, made: Landmarks, kept: np.ndarray) -> Landmarks:
    """What should be seen in these frames.

    The landmarks as they were given; the head turned from the portrait's pose as the driver's has
    turned since its first frame; the driver's expression.
    """
    height, width = made.size
    points = made.points.copy()
    points[..., :2] = task.wanted[kept] / [width, height]
    driven = rotation(task.driver.pose)
    pose = np.repeat(np.eye(4, dtype=np.float32)[None], len(kept), 0)
    since = driven[kept + 1] @ driven[:1].transpose(0, 2, 1)
    pose[:, :3, :3] = since @ rotation(task.face.pose)
    return dataclasses.replace(task.driver[kept + 1], points=points, pose=pose, size=made.size)


def _joined(found: list[Landmarks]) -> Landmarks:
    names = ("points", "vertices", "pose", "blendshapes")
    arrays = {name: np.concatenate([getattr(face, name) for face in found]) for name in names}
    times = np.arange(len(found)) / 25
    return dataclasses.replace(found[0], times=times, **arrays)


def _number(value: Any) -> Any:
    """For JSON: what is not a number is None."""
    if isinstance(value, list):
        return value
    return float(value) if np.isfinite(value) else None
