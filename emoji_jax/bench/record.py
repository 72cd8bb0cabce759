"""What a run is known by: files that are whole, settings that may not change, hashes."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoji_jax import files, json_file
from emoji_jax.errors import UserError


def write(path: Path, text: str) -> None:
    """A file that appears when it is complete.

    Raises:
      UserError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as file:  # other parts write, too
            file.write_text(text)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from None


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote as JSON.

    Raises:
      UserError: it can't be read, or holds something else.
    """
    try:
        told = json_file.read(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}; remove it to go on without") from None
    if not isinstance(told, dict):
        raise UserError(f"{path} is damaged: it holds no object; remove it to go on without")
    return told


def refuse_others(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Raises a UserError where other settings are noted: results of both would be mixed.

    Args:
      path: where they are noted, if they are.
      settings: those of now, as JSON has them.
      what: has settings, for the message.
    """
    if not path.exists():
        return
    noted = read(path)
    names = [n for n in {**noted, **settings} if noted.get(n) != settings.get(n)]
    if names:
        raise UserError(
            f"{path.parent} has {what} (what differs: {', '.join(names)}); expected a new folder"
        )


def sha256(file: Path) -> str:
    """Of a file's bytes; raises a UserError if it can't be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}") from None


def fingerprint(places: Sequence[Path]) -> str:
    """Of files, or of all that is in folders: names there, and contents."""
    digest = hashlib.sha256()
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in filter(Path.is_file, inside):
            name = file.relative_to(place).as_posix()
            digest.update(f"{name}\0{sha256(file)}\n".encode())
    return digest.hexdigest()
