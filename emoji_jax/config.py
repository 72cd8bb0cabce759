"""Where configuration files are, how one builds on another, and how sections become settings."""

import importlib.machinery
import re
import types
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from emoji_jax import errors
from emoji_jax.errors import UserError

_PACKAGE = Path(__file__).parent
_DEFAULT: dict[str, Path] = {}


def folder() -> Path:
    """The configurations: inside the installed package, or beside it in a source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def defaults() -> ml_collections.ConfigDict:
    """Every option at its default."""
    return read("base.py", beside=str(folder() / "base.py"))


def read(name: str, *, beside: str) -> ml_collections.ConfigDict:
    """What another configuration file says.

    Args:
      name: of the file.
      beside: file in whose folder it is; pass `__file__`.
    """
    path = Path(beside).parent / name
    loader = importlib.machinery.SourceFileLoader(f"config_{path.stem}", str(path))
    module = types.ModuleType(loader.name)
    module.__file__ = str(path)  # so that it can itself read what is beside it
    loader.exec_module(module)
    return module.get_config()


def build(kind: type, name: str, options: Any) -> Any:
    """A settings dataclass of the options of a section, named `name`.

    Raises:
      UserError: an option that there is not, or a value of another type or none of its choices.
    """
    errors.check_fields(name, kind, dict(options))
    try:
        return kind(**options)
    except TypeError as error:
        raise UserError(f"config.{name} does not fit: {error}") from None


def choice(name: str, value: Any, choices: tuple[Any, ...], expected: str = "") -> Any:
    """The value of the option `name`, if it is one of the choices; else a UserError."""
    return errors.choice(f"config.{name}", value, choices, expected)


def flag(default: str) -> flags.FlagHolder:
    """Defines `--config=FILE` and `--config.OPTION=VALUE`, for `command.run` to parse.

    Args:
      default: the file in `folder` that is used where none is given.
    """
    _DEFAULT["config"] = folder() / default
    return config_flags.DEFINE_config_file("config", None, f"Configuration file ({default}).")


def add_default(argv: list[str]) -> None:
    """Adds the default configuration file to command line arguments that name none, in place.

    Were it the flag's own default, it would be read while modules are imported, where no mistake in
    `--config.OPTION` can be told nicely.
    """
    given = any(re.match(r"--?config(=|$)", argument) for argument in argv)
    if _DEFAULT and not given:
        argv.insert(1, f"--config={_DEFAULT['config']}")
