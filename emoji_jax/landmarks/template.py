"""`Landmarks`: what is known about one face in every frame of a picture or video, and its file."""

import dataclasses
import math
import os
import pathlib
import zipfile
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from emoji_jax import files, pickled
from emoji_jax.disk import chunks
from emoji_jax.errors import UserError
from emoji_jax.landmarks import topology

FORMAT = 1
"""Version of the `.npz` layout; a reader refuses any other."""

ARRAYS = (
    ("points", (topology.POINTS, 3), np.dtype(np.float32)),
    ("vertices", (topology.MESH_POINTS, 3), np.dtype(np.float32)),
    ("pose", (4, 4), np.dtype(np.float32)),
    ("blendshapes", (len(topology.BLENDSHAPES),), np.dtype(np.float32)),
    ("times", (), np.dtype(np.float64)),
)
"""The arrays of `Landmarks`: name, what follows the frame axis, data type."""

# A file may become so many times its size, or so many bytes (25 minutes of video). Real faces never
# hold quite still, and become less than twice.
_TIMES, _BYTES = 4, 2**29


@dataclasses.dataclass(frozen=True, eq=False)
class Landmarks:
    """A face in F frames. Indexing takes frames and always keeps the frame axis.

    Raises:
      ValueError: on construction, if a shape or data type is not as below or a number not finite.
    """

    points: Float32[np.ndarray, "F 478 3"]
    """Image coordinates: x right and y down in [0, 1] inside the picture, z (smaller is nearer the
    camera) in units of the width; may lie outside."""
    vertices: Float32[np.ndarray, "F 468 3"]
    """The face mesh in canonical space, cm: the head pose is removed."""
    pose: Float32[np.ndarray, "F 4 4"]
    """From canonical to camera space (y up, the face at negative z), cm."""
    blendshapes: Float32[np.ndarray, "F 51"]
    """Scores in [0, 1], named by `topology.BLENDSHAPES`."""
    size: tuple[int, int]
    """Height and width of the picture in pixels."""
    times: Float64[np.ndarray, " F"]
    """When each frame is shown, in seconds."""

    def __post_init__(self) -> None:
        _check(vars(self))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, frames: int | slice | np.ndarray | list[int]) -> "Landmarks":
        """Returns some of the frames: `lm[3:5]`, `lm[[0, 7]]`; `lm[3]` is the same as `lm[[3]]`."""
        if not isinstance(frames, slice):
            frames = np.atleast_1d(frames)
        taken = {name: getattr(self, name)[frames] for name, _, _ in ARRAYS}
        return dataclasses.replace(self, **taken)

    @property
    def pixels(self) -> Float64[np.ndarray, "F 478 2"]:
        """The points in pixels (x right, y down; the first pixel spans 0 to 1)."""
        height, width = self.size
        return self.points[..., :2] * np.array([width, height], np.float64)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an `.npz` file without pickled objects; it appears under its name when complete.

        Raises:
          UserError: if the name does not end in `.npz`, or if it cannot be written.
        """
        path = pathlib.Path(path)
        if path.suffix != ".npz":
            raise UserError(f"landmarks are saved as .npz, not as {path.name}")
        arrays = {name: getattr(self, name) for name, _, _ in ARRAYS}
        try:
            with files.whole(path) as unfinished, unfinished.open("wb") as file:
                np.savez_compressed(file, format=FORMAT, size=np.array(self.size), **arrays)
        except OSError as error:
            raise UserError(f"cannot write landmarks to {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, fps: float = 30.0) -> "Landmarks":
        """Reads an `.npz` written by `save`, or a driving template (`.npy`) of the released code.

        Templates are pickles. They are read by a reader that makes nothing but arrays of numbers
        and plain containers, so that a hostile file can run no code.

        Args:
          path: the file.
          fps: frame rate given to templates, which have none.

        Raises:
          UserError: if it cannot be read, is not of either kind, holds wrong shapes or numbers that
            are not finite, or asks for anything that landmarks do not need.
        """
        path = pathlib.Path(path)
        readers = {".npz": _read_npz, ".npy": lambda file: _read_template(file, fps)}
        suffix = path.suffix.lower()
        if suffix not in readers:
            raise UserError(f"{path} is no landmark file: expected .npz or .npy")
        try:
            fields = readers[suffix](path)
            _check(fields)
            _check_motion(fields)
            return cls(**fields)
        except OSError as error:
            raise UserError(f"cannot read landmarks from {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} holds no usable landmarks: {error}") from error


def _check(fields: dict[str, Any]) -> None:
    """Raises a ValueError unless these are the fields of some `Landmarks`."""
    frames = len(fields["points"]) if np.ndim(fields["points"]) else 0
    for name, shape, dtype in ARRAYS:
        array = fields[name]
        found = (getattr(array, "dtype", None), np.shape(array))
        if found != (dtype, (frames, *shape)):
            raise ValueError(
                f"{name} should be {dtype} {[frames, *shape]}, got {found[0]} {list(found[1])}"
            )
        if not all(np.isfinite(array[some]).all() for some in chunks(frames)):
            raise ValueError(f"{name} holds numbers that are not finite")
    height, width = fields["size"]
    if height < 1 or width < 1:
        raise ValueError(f"size should be a height and width in pixels, got {fields['size']}")


def _check_motion(fields: dict[str, Any]) -> None:
    """Raises a ValueError for what this project never makes, but who edits a file may."""
    if not len(fields["times"]):
        raise ValueError("it holds no frames")
    if (np.diff(fields["times"]) <= 0).any():
        raise ValueError("times should grow from frame to frame")
    turns = fields["pose"][:, :3, :3].astype(np.float64)
    if not (np.linalg.det(turns) > 1e-6).all():
        raise ValueError("pose should be rotations; one has no direction, or mirrors")


def _check_growth(path: pathlib.Path, count: int) -> None:
    """Raises a ValueError if a file would become so many bytes that it was made to fill memory."""
    size = path.stat().st_size
    if count > max(_BYTES, _TIMES * size):
        raise ValueError(f"its {size:,} bytes would become {count:,}")


def _read_npz(path: pathlib.Path) -> dict[str, Any]:
    names = [name for name, _, _ in ARRAYS]
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no archive; perhaps it is one array, or cut short")
            with zipfile.ZipFile(file) as parts:
                _check_growth(path, sum(part.file_size for part in parts.infolist()))
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            missing = {"format", "size", *names} - set(archive)
            if missing:
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            version, size = archive["format"], archive["size"]
            # An editor computes in other precisions.
            arrays = {
                name: array.astype(dtype, copy=False)
                if (array := archive[name]).dtype.kind == "f"
                else array
                for name, _, dtype in ARRAYS
            }
    except (OSError, ValueError):
        raise
    except Exception as error:  # as many kinds as zip, zlib and NumPy's headers have ways to fail
        raise ValueError(f"the archive is damaged: {error}") from error
    if version.shape or version != FORMAT:
        raise ValueError(f"its format is {version}, this version reads {FORMAT}")
    if size.shape != (2,) or size.dtype.kind not in "iu":
        raise ValueError(f"size should be two whole numbers, got {size.dtype} {list(size.shape)}")
    return {"size": (int(size[0]), int(size[1])), **arrays}


def _read_template(path: pathlib.Path, fps: float) -> dict[str, Any]:
    """Reads a list with one dict per frame: lmks, lmks3d, trans_mat, bs, width, height, [time]."""
    frames = pickled.read_objects(path)
    # Frames may all be one and the same dict, of which a pickle has one copy.
    _check_growth(path, sum(4 * math.prod(shape) for _, shape, _ in ARRAYS) * len(frames))
    keys = {"lmks": "points", "lmks3d": "vertices", "trans_mat": "pose", "bs": "blendshapes"}
    if not frames:
        raise ValueError("it holds no frames")
    for i, frame in enumerate(frames):
        missing = {*keys, "width", "height"} - set(frame if isinstance(frame, dict) else ())
        if missing:
            raise ValueError(f"frame {i} lacks {', '.join(sorted(missing))}")
    try:
        arrays = {
            name: np.stack([pickled.to_array(frame[key]) for frame in frames]).astype(np.float32)
            for key, name in keys.items()
        }
        sizes = {tuple(int(pickled.to_array(f[k])) for k in ("height", "width")) for f in frames}
        times = [float(pickled.to_array(f.get("time", i / fps))) for i, f in enumerate(frames)]
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    if len(sizes) > 1:
        raise ValueError(f"its frames have different sizes: {sorted(sizes)}")
    return {"size": sizes.pop(), "times": np.array(times, np.float64), **arrays}
