"""Reads pickled NumPy arrays without running what a pickle may ask for.

A pickle is a program: unpickling calls whatever it names. Here the few names that arrays of numbers
need lead to the inert classes below, which only remember what they are given, and every other name
is refused. NumPy's own unpickling code is not used either: handed a made-up data type, it would
take bytes from the file for pointers.
"""

import dataclasses
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from emoji_jax.errors import UserError


class _Dtype:
    """Stands in for `numpy.dtype`; knows only booleans, integers and floats, and "O"."""

    # A pickle can make an instance without calling `__init__`: hence defaults in every class here.
    name, order = "O", "<"

    def __init__(self, name: object, *_: object):
        if isinstance(name, bytes):  # pickled by Python 2
            name = name.decode("ascii", "replace")
        if not isinstance(name, str) or name not in _DTYPES:
            raise pickle.UnpicklingError(f"data type {name!r}")
        self.name, self.order = name, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numeric(self) -> np.dtype:
        if self.name.startswith("O"):
            raise ValueError("expected numbers, got an array of objects")
        return np.dtype(self.order + self.name)


class _Array:
    """Stands in for `_reconstruct`: an empty array that `__setstate__` then fills."""

    shape, dtype, fortran, data = (), None, False, None

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, self.shape, self.dtype, self.fortran, self.data = state


@dataclasses.dataclass
class _Scalar:
    """Stands in for `scalar`."""

    dtype: _Dtype | None = None
    data: bytes = b""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a scalar with a state")


# Numbers in one list: of a frame there are 1,434 at most.
_LONGEST = 2**20
_DTYPES = {"b1", "O", "O8"} | {f"{k}{n}" for k in "iu" for n in (1, 2, 4, 8)} | {"f2", "f4", "f8"}
_ALLOWED = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): "numpy.ndarray"} | {
    (f"numpy.{core}.multiarray", name): stand_in
    for core in ("core", "_core")  # NumPy 1 and 2
    for name, stand_in in (("_reconstruct", _Array), ("scalar", _Scalar))
}


class _Unpickler(pickle._Unpickler):
    """The one written in Python: C's reserves what the number of a memo asks for, up to 32 GB."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            # Named here and not only in the message: UserError passes through every handler below.
            raise UserError(
                f"refused: it asks for {module}.{name}, which arrays do not need and which could "
                "run code"
            )
        return _ALLOWED[module, name]


def read(path: pathlib.Path) -> Any:
    """Reads dicts and lists of arrays and numbers.

    Raises:
      UserError: it can't be read, is damaged, or names anything but arrays.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file).load())
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path} can't be read as arrays: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return to_array(value) if isinstance(value, _Array | _Scalar) else value


def read_objects(path: pathlib.Path) -> list[Any]:
    """Reads the items of a one-dimensional object array from an `.npy` file.

    Arrays among them are inert: pass them to `to_array`.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is not such a file.
      UserError: if the pickle names anything but arrays, data types and scalars of NumPy.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its .npy version is {version}")
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        try:
            shape, _, dtype = read_header(file)
        except Exception as error:  # NumPy has it tokenised as a program's text
            raise ValueError(f"its header is damaged: {error}") from error
        if dtype.kind != "O" or len(shape) != 1:
            raise ValueError(f"expected one dict per frame, got an array {dtype} {list(shape)}")
        try:
            outer = _Unpickler(file).load()
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise ValueError(f"its pickle is damaged or not of plain arrays: {error}") from error
    items = outer.data if isinstance(outer, _Array) else None
    if not isinstance(items, list):
        raise ValueError("its pickle is not a list of frames")
    return items


def to_array(value: Any) -> np.ndarray:
    """Turns an unpickled array, scalar, number or list of numbers into an array of numbers.

    Raises:
      ValueError: if it is none of them, or if its parts do not fit together.
    """
    if isinstance(value, _Scalar):
        shape, fortran = (), False
    elif isinstance(value, _Array):
        shape, fortran = value.shape, value.fortran
    elif isinstance(value, list | tuple) and not any(isinstance(v, list | tuple) for v in value):
        parts = [to_array(item) for item in value]
        if sum(part.size for part in parts) > _LONGEST:  # all may be one, of which a file has one
            raise ValueError(f"a list in it has more than {_LONGEST:,} numbers")
        return np.array(parts, np.float64)
    elif isinstance(value, int | float):
        return np.asarray(value, np.float64)
    else:
        raise ValueError(f"expected numbers, got {type(value).__name__}")
    dtype = value.dtype.numeric() if isinstance(value.dtype, _Dtype) else None
    if dtype is None or not isinstance(value.data, bytes):
        raise ValueError("an array in it is damaged")
    flat = np.frombuffer(value.data, dtype)
    try:
        return flat.reshape(shape, order="F" if fortran else "C")
    except (TypeError, ValueError) as error:
        raise ValueError("an array's shape does not fit its data") from error
