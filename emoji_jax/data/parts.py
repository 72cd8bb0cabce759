"""Parts, one per input: what came of it, its records first. A file with its final name is whole."""

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from emoji_jax.errors import UserError

_MAGIC = b"emoji_jax part 1"


class CannotWriteError(UserError):
    """The output can't be written, which no other input will change."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong on the disk into a message."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotWriteError(
            f"{path} can't be written: {reason}; run the same command again once it can, what is "
            "done is kept"
        ) from None


class PartWriter:
    """What came of one input: records, then a report. Until `finish` there is no such file."""

    def __init__(self, path: Path):
        """Creates a file beside `path`, under another name."""
        self.path, self.lengths = path, list[int]()
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: io.BufferedWriter = self._beside.open("wb")

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._beside.unlink(missing_ok=True)

    def add(self, record: bytes) -> None:
        """Appends a record."""
        with writing(self.path):
            self._file.write(record)
        self.lengths.append(len(record))

    def clear(self) -> None:
        """Takes all records back."""
        with writing(self.path):
            self._file.seek(0)
            self._file.truncate()
        self.lengths.clear()

    def finish(self, report: Mapping[str, Any]) -> None:
        """Appends the report and gives the file its name."""
        footer = json.dumps({"lengths": self.lengths, "report": report}).encode()
        with writing(self.path):
            self._file.write(footer + len(footer).to_bytes(8, "big") + _MAGIC)
            self._file.flush()
            # Of a part without records, any damage is noticed when it is read. A great many inputs
            # that are no videos would otherwise keep the disk busy for minutes.
            if self.lengths:
                os.fsync(self._file.fileno())
            self._file.close()
            self._beside.replace(self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A finished part: where its records are, and its report."""

    path: Path
    lengths: tuple[int, ...]
    report: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Part | None":
        """The part in a file; None if there is none, or it is damaged."""
        tail = 8 + len(_MAGIC)
        try:
            with path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - tail, 0))
                trailer = file.read()
                length = int.from_bytes(trailer[:8], "big")
                if trailer[8:] != _MAGIC or length > end - tail:
                    return None
                file.seek(end - tail - length)
                footer = json.loads(file.read(length))
        except (OSError, ValueError):
            return None
        if sum(footer["lengths"]) != end - tail - length:
            return None
        # A great many reports are in memory at a time, and say much the same.
        report = {sys.intern(key): _shared(value) for key, value in footer["report"].items()}
        return cls(path, tuple(footer["lengths"]), report)


def _shared(value: Any) -> Any:
    return sys.intern(value) if isinstance(value, str) else value


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps a folder for one run at a time, and clears away what killed ones have left.

    Raises:
      UserError: there is another run, or the folder can't be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another run is writing to {out}; wait for it to end") from None
        for names in ("parts/*/.*.part.*", "parts/.done.*", ".report.jsonl.*"):
            for left in out.glob(names):
                left.unlink(missing_ok=True)
        yield
