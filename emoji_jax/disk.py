"""Arrays that grow on disk, so that memory does not grow with the length of a video."""

import tempfile
import weakref

import numpy as np
from numpy.typing import DTypeLike

from emoji_jax.errors import UserError

CHUNK = 256
"""Frames that are worked on at a time where there may be any number."""


class Rows:
    """Rows of an array, appended one after another to an unnamed temporary file (`TMPDIR`).

    The file goes when nobody holds its array any more, or when the process ends.

    Args:
      shape: of a row.
      dtype: of its elements.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike):
        self._shape, self._dtype, self._count = shape, np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(prefix="emoji_jax-")
        weakref.finalize(self, self._file.close)  # arrays hold on to it by themselves

    def __len__(self) -> int:
        return self._count

    def append(self, rows: np.ndarray) -> None:
        """Adds rows [N ...].

        Raises:
          UserError: the disk is full.
        """
        rows = np.ascontiguousarray(rows, self._dtype)
        if rows.shape[1:] != self._shape:
            raise ValueError(f"rows are {rows.shape[1:]}; expected {self._shape}")
        try:
            self._file.write(rows.data)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise UserError(
                f"no temporary file can be written in {folder} (TMPDIR): {error.strerror}"
            ) from None
        self._count += len(rows)

    def array(self) -> np.ndarray:
        """All rows so far; the array lies on disk, and may be written to."""
        if not self._count:
            return np.empty((0, *self._shape), self._dtype)
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r+", shape=(self._count, *self._shape))


def chunks(count: int) -> list[np.ndarray]:
    """The numbers 0 to `count` - 1 in order, at most `CHUNK` of them together."""
    return np.split(np.arange(count), range(CHUNK, count, CHUNK))
