"""Arrays out of pickle files, of which nothing is run; for files that are known by their hash."""

import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from emoji_jax.errors import UserError

_RECONSTRUCT = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


class _Type:
    """In place of a numpy.dtype: its name, and the order of bytes."""

    def __init__(self, name: str, *_: object):
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        self.name = state[1].replace("|", "") + self.name


class _Array:
    """In place of a numpy.ndarray."""

    def __init__(self, *_: object):
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        dtype = np.dtype(kind.name)
        if dtype.kind not in "fiub" or fortran or len(content) != math.prod(shape) * dtype.itemsize:
            raise UserError("it holds an array that is not of plain numbers")
        self.value = np.frombuffer(content, dtype).reshape(shape)


class _Unpickler(pickle._Unpickler):
    """Builds dicts, lists, numbers and arrays; refuses everything else."""

    stack: list[object]

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _RECONSTRUCT or (module, name) == ("numpy", "ndarray"):
            return _Array
        if (module, name) == ("numpy", "dtype"):
            return _Type
        raise UserError(f"it asks for {module}.{name}, and only arrays are read")

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], _Array | _Type):
            raise UserError("it sets attributes, and only arrays are read")
        state = self.stack.pop()
        self.stack[-1].__setstate__(state)  # pyright: ignore

    dispatch: ClassVar[dict] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def read(path: Path) -> Any:
    """What a pickle file holds: dicts and lists of numbers, texts and arrays.

    Raises:
      UserError: missing, damaged, or holding anything else.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes())).load())
    except UserError as error:
        raise UserError(f"{path} was refused: {error}") from None
    except Exception as error:  # whatever a damaged file makes the parser say
        raise UserError(f"{path} can't be read: {error}; is it whole?") from error


def _plain(content: object) -> Any:
    if isinstance(content, Mapping):
        return {str(k): _plain(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(x) for x in content]
    return content.value if isinstance(content, _Array) else content
