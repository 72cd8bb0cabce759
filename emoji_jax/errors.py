"""The one exception that the command lines turn into a message, and checks that raise it."""

import dataclasses
import re
import reprlib
from collections.abc import Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class UserError(Exception):
    """A mistake of the user's: one clear line, exit code 2."""


def choice(name: str, value: Any, choices: tuple[Any, ...], expected: str = "") -> Any:
    """The value of what is called `name`, if it is one of the choices; else a UserError.

    Args:
      name: as messages have it.
      value: of any kind.
      choices: what it may be.
      expected: these in words, if not one after another.
    """
    if value not in choices:
        expected = expected or f"one of {', '.join(map(repr, choices))}"
        raise UserError(f"{name} is {reprlib.repr(value)}; expected {expected}")
    return value


_EXPECTED = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    NoneType: "",
}


def check_fields(section: str, kind: type, values: Mapping[str, Any]) -> None:
    """Raises a UserError where a value is of another type than its field, or none of its choices.

    Args:
      section: before the names of fields, in messages.
      kind: the dataclass. A field of type `Literal[...] | int` takes numbers from 0 as well, one of
        type `Literal[...] | None` also None and "".
      values: by name of field: an object's `vars`, or what one is about to be made of.
    """
    for name, hint in get_type_hints(kind).items():
        if name not in values:
            continue
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        words = tuple(w for one in kinds if get_origin(one) is Literal for w in get_args(one))
        value, numbers = values[name], int in kinds
        if not words:
            check_kind(f"{section}.{name}", value, *kinds)
        elif not (numbers and _fits(value, int) and int(value) >= 0):
            if NoneType in kinds:
                words, value = ("", *words), "" if value is None else value
            expected = f"{', '.join(words)} or a number from 0" if numbers else ""
            choice(f"{section}.{name}", value, words, expected)


def check_kind(name: str, value: Any, *kinds: Any) -> None:
    """Raises a UserError for a value that is of none of these types; others than here all pass."""
    if not any(_fits(value, kind) for kind in kinds):
        kinds = tuple(kind for kind in kinds if kind is not NoneType)
        expected = " or ".join(_EXPECTED.get(kind) or f"a {kind.__name__}" for kind in kinds)
        raise UserError(f"{name} is {reprlib.repr(value)}; expected {expected}")


def _fits(value: Any, kind: Any) -> bool:
    numbers = {float: Real, int: Integral}
    if kind in numbers:
        return isinstance(value, numbers[kind]) and not isinstance(value, bool)
    known = isinstance(kind, type) and (kind in _EXPECTED or dataclasses.is_dataclass(kind))
    return not known or isinstance(value, kind)


def memory_wanted(error: BaseException) -> str | None:
    """What an error says of too little memory; None if it is about something else."""
    # JAX's own kind of RuntimeError is not imported here, nor by all commands.
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    said = str(error).strip()
    # Of a chip's own scratch memory, a kernel that asks for too much is a bug.
    scratch = re.search("vmem|smem|shared memory|scoped", said, re.IGNORECASE)
    if isinstance(error, RuntimeError) and ("RESOURCE_EXHAUSTED" not in said or scratch):
        return None
    return (said or "no more to be had").splitlines()[0][:200]
