"""Where configuration files are, and how one builds on another."""

import importlib.util
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

_PACKAGE = Path(__file__).parent


def folder() -> Path:
    """The configurations: inside the installed package, or beside it in a source tree."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def read(name: str, *, beside: str) -> ml_collections.ConfigDict:
    """What another configuration file says.

    Args:
      name: of the file.
      beside: file in whose folder it is; pass `__file__`.
    """
    path = Path(beside).parent / name
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def flag(default: str) -> flags.FlagHolder:
    """Defines `--config=FILE` and `--config.OPTION=VALUE`.

    Args:
      default: the file in `folder` that is used where none is given.
    """
    return config_flags.DEFINE_config_file(
        "config", str(folder() / default), "Configuration file.", lock_config=True
    )
