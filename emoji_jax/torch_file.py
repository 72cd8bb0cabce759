"""Tensors out of PyTorch and safetensors files, without PyTorch and without running a pickle."""

import collections
import dataclasses
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import ml_dtypes
import numpy as np
import safetensors

from emoji_jax.errors import UserError

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: object) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UserError("it holds a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: _Tensor, *_: object) -> _Tensor:
    return data


class _Unpickler(pickle._Unpickler):
    """Builds tensor descriptions, dicts, lists and numbers; refuses everything else.

    The one written in Python, because what it does with an object's state can be restricted: a
    file must not reach the attributes of anything that lives on in this process.
    """

    _allowed: Mapping[tuple[str, str], object] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        **{("torch", name): name for name in _STORAGES},
    }

    stack: list[object]

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise UserError(f"it asks for {module}.{name}, and only tensors are read") from None

    def persistent_load(self, pid: tuple) -> _Storage:
        kind, name, key = pid[:3]
        if kind != "storage" or name not in _STORAGES:
            raise UserError("it holds something that is not a tensor's storage")
        if len(pid) > 5 and pid[5] is not None:  # only ever written by PyTorch before 0.4
            raise UserError("it has views of storages")
        self.storages[str(key)] = storage = _Storage(np.dtype(_STORAGES[name]), str(key))
        return storage

    def load_build(self) -> None:
        # State dicts carry notes of their modules' versions as attributes; nothing else has any.
        self.stack.pop()
        if type(self.stack[-1]) is not collections.OrderedDict:
            raise UserError("it sets attributes, and only tensors are read")

    dispatch: ClassVar[dict] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


class TensorFile(Mapping[str, np.ndarray]):
    """A file of named tensors, each read from disk only when asked for.

    Raises:
      UserError: missing, empty, cut short, or holding anything but tensors.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise UserError(f"{path} is missing; expected a .safetensors, .bin, .pth or .ckpt file")
        read = _open_safetensors if path.suffix == ".safetensors" else _open_torch
        try:
            self._names, self._get = read(path)
        except UserError as error:
            raise UserError(f"{path} was refused: {error}") from None
        except Exception as error:
            # Whatever a damaged header makes the parsers say, it is the file that is at fault.
            raise UserError(
                f"{path} can't be read as tensors ({type(error).__name__}: {error}); is it whole?"
            ) from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


_Opened = tuple[list[str], Callable[[str], np.ndarray]]
# Of each storage by its key: where its bytes start in the file, and how many there are.
_Places = dict[str, tuple[int, int]]
# How files of PyTorch before 1.6 start: a pickled number.
_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def _open_safetensors(path: Path) -> _Opened:
    file = safetensors.safe_open(path, framework="numpy")
    return list(file.keys()), file.get_tensor


def _open_torch(path: Path) -> _Opened:
    try:
        read = _read_archive if zipfile.is_zipfile(path) else _read_stream
        content, places = read(path)
    except (pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"its index can't be read ({error}); is it whole?") from None
    tensors = _tensors(content)
    for name, tensor in tensors.items():
        _check(name, tensor, places)
    return list(tensors), lambda name: _map(path, tensors[name], places)


def _read_archive(path: Path) -> tuple[object, _Places]:
    """What torch.save has written since PyTorch 1.6: a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        head = next((n for n in names if n.endswith("data.pkl")), None)
        if head is None:
            raise UserError("the archive has no data.pkl")
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:  # a few of its bytes could become many
                raise UserError(
                    f"its entry {info.filename} is compressed, which torch.save never does"
                )
        root = head.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise UserError("its numbers are big-endian")
        content = _Unpickler(io.BytesIO(archive.read(head))).load()
        places = {
            info.filename.removeprefix(f"{root}data/"): _place(path, info)
            for info in archive.infolist()
            if info.filename.startswith(f"{root}data/")
        }
    return content, places


def _read_stream(path: Path) -> tuple[object, _Places]:
    """What it wrote before: five pickles, then the count and the numbers of each storage."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError("it is nothing that torch.save writes (is it whole?)")
        _Unpickler(file).load()  # the format's version
        machine = _Unpickler(file).load()
        if not isinstance(machine, Mapping) or machine.get("little_endian") is not True:
            raise UserError("its numbers are big-endian")
        unpickler = _Unpickler(file)
        content = unpickler.load()
        order = _Unpickler(file).load()
        if not isinstance(order, list) or set(order) != set(unpickler.storages):
            raise UserError("its list of storages does not fit")
        places, end = {}, path.stat().st_size
        for key in order:
            (count,) = struct.unpack("<q", file.read(8))
            length = count * unpickler.storages[key].dtype.itemsize
            if not 0 <= length <= end - file.tell():
                raise UserError("it is cut short")
            places[key] = (file.tell(), length)
            file.seek(length, io.SEEK_CUR)
    return content, places


def _tensors(content: object) -> dict[str, _Tensor]:
    """The named tensors of a state dict, or of the state dict that a training checkpoint holds."""
    for inside in ("state_dict", "params"):
        if isinstance(content, Mapping) and isinstance(content.get(inside), Mapping):
            content = content[inside]
    if not isinstance(content, Mapping):
        raise UserError("it holds no dict of tensors")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, _Tensor)}
    if not tensors:
        raise UserError("it holds no tensors")
    return tensors


def _place(path: Path, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a stored entry's bytes are in the file: start and length."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > path.stat().st_size:
        raise UserError("it is cut short")
    return start, info.file_size


def _check(name: str, tensor: _Tensor, places: Mapping[str, tuple[int, int]]) -> None:
    numbers = (tensor.offset, *tensor.shape, *tensor.stride)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(tensor.shape) > 32:
        raise UserError(f"{name} has no proper shape")
    if max(*numbers, math.prod(max(n, 1) for n in tensor.shape)) > 2**48:
        raise UserError(f"{name} has no possible shape")
    if tensor.storage.key not in places:
        raise UserError(f"the numbers of {name} are missing")
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
    size = (tensor.offset + last + 1) * tensor.storage.dtype.itemsize
    length = places[tensor.storage.key][1]
    # With a stride of 0 a number can stand for any number of numbers.
    if max(size, math.prod(tensor.shape) * tensor.storage.dtype.itemsize) > length:
        raise UserError(f"{name} reaches beyond its storage")


def _map(path: Path, tensor: _Tensor, places: Mapping[str, tuple[int, int]]) -> np.ndarray:
    start, length = places[tensor.storage.key]
    dtype = tensor.storage.dtype
    if length < dtype.itemsize:
        return np.zeros(tensor.shape, dtype)
    flat = np.memmap(path, dtype, "r", start, (length // dtype.itemsize,))[tensor.offset :]
    strides = [s * dtype.itemsize for s in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
