"""What is done of a video so far, on disk: memory does not grow, and a run can go on later."""

import hashlib
import json
import math
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from emoji_jax import files, json_file
from emoji_jax.disk import chunks
from emoji_jax.errors import UserError


def beside(path: Path) -> Path:
    """The folder in which the work on a file lies."""
    return path.with_name(f".{path.name}.work")


class Work:
    """Arrays on disk, and how much of the work on them is done.

    Args:
      folder: where; it is created, and stays until `remove`. None: a temporary one.
      identity: what decides the result. Work of another identity can't be gone on with.
      resume: go on with what is in the folder, if there is any, instead of beginning again.

    Raises:
      UserError: there is work of another identity to resume, or the folder can't be written to.
    """

    def __init__(self, folder: Path | None = None, identity: str = "", *, resume: bool = False):
        self.done, self._identity, self._arrays = 0, identity, []
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="emoji_jax-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = folder
        try:
            if resume and self._state.exists():
                self.done = self._read()
            else:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{folder} can't be written: {error.strerror}") from None

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _read(self) -> int:
        try:
            state = json_file.read(self._state)
            theirs, done = state["identity"], int(state["done"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self._state} is damaged; start anew without --resume") from None
        if theirs != self._identity:
            raise UserError(
                f"what is in {self.folder} was begun with another portrait, motion, checkpoint or "
                "other settings; give those, or start anew without --resume"
            )
        return done

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An fp32 array on disk, zero at first; what was written to it before `commit` is kept."""
        path = self.folder / f"{name}.f32"
        if not path.exists():
            try:
                # Zeros are written: a hole in a file would fail later, where it can't be told.
                with files.whole(path) as unfinished, unfinished.open("wb") as file:
                    for rows in chunks(shape[0]):
                        file.write(np.zeros((len(rows), *shape[1:]), np.float32).data)
            except OSError as error:
                raise UserError(f"{path} can't be written: {error.strerror}") from None
        elif path.stat().st_size != 4 * math.prod(shape):
            raise UserError(f"{path} is damaged; start anew without --resume")
        array = np.memmap(path, np.float32, "r+", shape=shape)
        self._arrays.append(array)
        return array

    def commit(self, done: int) -> None:
        """Notes how much is done, once it is on disk."""
        for array in self._arrays:
            array.flush()
        with files.whole(self._state) as file:
            file.write_text(json.dumps({"identity": self._identity, "done": done}))
        self.done = done

    def remove(self) -> None:
        """Deletes everything."""
        self._arrays.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def identity(*parts: object) -> str:
    """A hash of what decides a result: arrays by their bytes, everything else by its `repr`."""
    digest = hashlib.sha256()
    for part in parts:
        data = np.ascontiguousarray(part) if isinstance(part, np.ndarray) else repr(part).encode()
        digest.update(data)
    return digest.hexdigest()
