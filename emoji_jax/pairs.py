"""Pairs of portraits and drivers, from tables or folders."""

import contextlib
import csv
import dataclasses
import itertools
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_collections

from emoji_jax import config as config_file
from emoji_jax import options
from emoji_jax.errors import UserError

# Sections of the options that a pair may have its own of; "" is for the seed.
_GROUPS = ("", "sampler", "motion", "controls", "framing")
_BY_HAND = "ref_landmarks"
_COLUMNS = ("ref", "driving", "out", _BY_HAND)
# Of a table: there are fewer than 50 columns, and so many bytes take weeks to animate.
_MOST_COLUMNS, _MOST_BYTES = 100, 2**22


@dataclasses.dataclass(frozen=True)
class Pair:
    """One thing to make.

    Attributes:
      ref: portrait.
      driving: motion.
      out: name of the result in the folder of results.
      options: what differs from the command line, by name.
      ref_landmarks: file of the portrait's landmarks; empty: they are found.
    """

    ref: str
    driving: str
    out: str
    options: tuple[tuple[str, str], ...] = ()
    ref_landmarks: str = ""


def read_table(path: Path, suffix: str) -> list[Pair]:
    """The pairs of a table.

    Raises:
      UserError: unreadable, without the two columns, or with two results of the same name.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} has over {_MOST_BYTES / 1e6:.0f} MB; expected a shorter table")
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _distinct(_pairs(path, csv.DictReader(file), suffix))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no table (.csv): {error}") from None


def _pairs(path: Path, table: csv.DictReader, suffix: str) -> Iterator[Pair]:
    """Row by row, so that a mistake is told before memory is full of what follows it."""
    columns = table.fieldnames or ()
    if len(columns) > _MOST_COLUMNS:
        raise UserError(f"{path} has {len(columns)} columns; expected at most {_MOST_COLUMNS}")
    first = next(table, None) if {"ref", "driving"} <= set(columns) else None
    if first is None:
        raise UserError(f"{path} needs the columns ref and driving, and at least one row")

    def found(name: str) -> str:
        with contextlib.suppress(OSError, ValueError):  # no name of a file at all
            beside = path.parent / name
            return str(beside) if name and beside.exists() else name
        return name

    for row in itertools.chain([first], table):
        if None in row:
            raise UserError(f"{path} has a row with more cells than there are columns")
        cells = {name: (value or "").strip() for name, value in row.items()}
        given = tuple((k, v) for k, v in cells.items() if v and k not in _COLUMNS)
        out = cells.get("out") or _name(cells["ref"], cells["driving"], suffix)
        ref, driving, by_hand = (found(cells.get(n, "")) for n in ("ref", "driving", _BY_HAND))
        yield Pair(ref, driving, out, given, by_hand)


def of_folders(portraits: Path, drivers: Path, suffix: str) -> list[Pair]:
    """Every portrait with every driver.

    Raises:
      UserError: a folder that is none, or empty.
    """
    listed = []
    for folder in (portraits, drivers):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder")
        items = sorted(item for item in folder.iterdir() if item.name[0] != ".")
        if not items:
            raise UserError(f"{folder} is empty")
        listed.append(items)
    # One driver after another: each is read once.
    each = itertools.product(*listed[::-1])
    return _distinct([Pair(str(a), str(b), _name(a.name, b.name, suffix)) for b, a in each])


def _name(portrait: str, driver: str, suffix: str) -> str:
    driver = driver.removeprefix("expression:")
    return f"{Path(portrait).stem}_{Path(driver).stem}{suffix}"


def _distinct(pairs: Iterable[Pair]) -> list[Pair]:
    seen: dict[str, Pair] = {}
    for pair in pairs:
        if pair.out in seen:
            raise UserError(f"two results would be called {pair.out}; name them in a column out")
        seen[pair.out] = pair
        if Path(pair.out).is_absolute() or ".." in Path(pair.out).parts:
            raise UserError(f"{pair.out} would lie outside of the folder of results")
    return list(seen.values())


def configured(
    base: ml_collections.ConfigDict, given: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    """What an animator takes, with a pair's own options.

    Raises:
      UserError: an option that there is not, or a value that can't be.
    """
    config = base.copy_and_resolve_references()
    for name, text in given:
        group, _, option = name.rpartition(".")
        section = config.get(group, {}) if group else config
        if group not in _GROUPS or option not in section or (not group and option != "seed"):
            told = reprlib.repr(name)
            raise UserError(f"there is no option {told}; expected e.g. seed, controls.mouth")
        # Of the base: where references are resolved, what is unset has no kind any more.
        kind = (base[group] if group else base).get_type(option)
        if section[option] is None and not text.lstrip("-").isdecimal():
            kind = float  # whoever checks the option says what is expected of it
        section[option] = _value(name, text, kind)
    return options.of_animating(config)


def _value(name: str, text: str, kind: type) -> Any:
    """A cell as a value of the kind that the option has."""
    if kind is bool:
        return config_file.choice(name, text.lower(), ("true", "false")) == "true"
    if kind is str:
        return text
    try:
        if kind is tuple:
            return tuple(float(part) for part in text.strip("()").split(","))
        return int(text) if kind is int else float(text)  # unset options have a kind, too
    except ValueError:
        whole = " whole" if kind is int else ""
        raise UserError(f"{name} is {reprlib.repr(text)}; expected a{whole} number") from None
