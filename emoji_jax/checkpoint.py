"""Weights on disk: a folder with the configuration and one Orbax checkpoint per network."""

import dataclasses
import json
import os
import shutil
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from flax import nnx
from jax.typing import DTypeLike

from emoji_jax import json_file
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.layers import Compute

_FORMAT = 1
# Names that older checkpoints don't have: their defaults are what was done before.
_NEWER = {"antialiased", "distilled", "keep", "warped"}
_CONFIG = "config.json"
_BUNDLED = Path(__file__).parent / "weights"
# Where a training run puts its checkpoint when it is finished.
WEIGHTS = "weights"
Flat = Mapping[str, typing.Any]


def flatten(state: nnx.State) -> dict[str, typing.Any]:
    """Leaves by dotted path, e.g. `down_blocks.0.resnets.0.conv1.kernel`."""
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def save(directory: Path, cfg: EmojiConfig, networks: Iterable[tuple[str, Flat]]) -> None:
    """Writes a checkpoint, network by network, under its name only once it is complete.

    Args:
      directory: must not exist yet.
      cfg: configuration of the networks.
      networks: name and flat parameters of each; may be made one at a time to bound memory.

    Raises:
      UserError: the directory exists or can't be written.
    """
    directory = directory.absolute()
    if directory.exists():
        raise UserError(f"{directory} exists already; give another --out or remove it")
    unfinished = directory.with_name(f"{directory.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        with _checkpointer() as checkpointer:
            for name, parameters in networks:
                _write(checkpointer, unfinished / name, dict(parameters))
        settings = {"format": _FORMAT, **dataclasses.asdict(cfg)}
        (unfinished / _CONFIG).write_text(json.dumps(settings, indent=1) + "\n")
        unfinished.rename(directory)
    except OSError as error:
        raise UserError(f"{directory} can't be written: {error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(checkpointer: ocp.StandardCheckpointer, path: Path, parameters: Flat) -> None:
    try:
        checkpointer.save(path, parameters)
        checkpointer.wait_until_finished()
    except (OSError, ValueError) as error:  # TensorStore reports a full disk as the latter
        raise UserError(f"{path} can't be written: {str(error).splitlines()[0][:200]}") from None


def _checkpointer() -> ocp.StandardCheckpointer:
    """This process's own: of several, each reads all, and one writes."""
    own = jax.process_index()
    return ocp.StandardCheckpointer(
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
        )
    )


def find(directory: Path) -> Path:
    """The checkpoint itself, where a finished training run is given."""
    finished = directory / WEIGHTS
    return finished if (finished / _CONFIG).is_file() else directory


def locate(name_or_dir: str | Path) -> Path:
    """The folder of a checkpoint that may be a bundled one, given by its name.

    Raises:
      UserError: there is none.
    """
    directory = Path(name_or_dir)
    if str(name_or_dir) == directory.name and (_BUNDLED / directory).is_dir():
        return _BUNDLED / directory
    if not directory.exists():
        raise UserError(
            f"there is no checkpoint {name_or_dir}: none of that name is bundled, and it is no "
            "folder; give --checkpoint a folder that `python -m emoji_jax.convert` wrote"
        )
    return directory


def read_config(directory: Path) -> EmojiConfig:
    """The configuration of a checkpoint.

    Raises:
      UserError: there is none, or not one of this format.
    """
    path = directory / _CONFIG
    if not path.is_file():
        raise UserError(
            f"{directory} is no checkpoint: it has no {_CONFIG}; expected a folder that "
            "`python -m emoji_jax.convert` or training wrote"
        )
    try:
        settings = json_file.read(path)
        if "format" not in settings and (directory / "checkpoints").is_dir():
            raise UserError(
                f"{directory} is a training run that has not ended; `python -m emoji_jax.export` "
                "makes a checkpoint of any of its steps"
            )
        if settings.pop("format") != _FORMAT:
            raise ValueError(f"expected format {_FORMAT}")
        return parse_config(settings)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a configuration of this version: {error}") from None


def parse_config(settings: Mapping[str, typing.Any]) -> EmojiConfig:
    """A configuration from its JSON; raises ValueError or TypeError if it isn't one."""
    return _build(EmojiConfig, settings)


def _build(kind: typing.Any, settings: Mapping[str, typing.Any]) -> typing.Any:
    """A frozen dataclass from JSON; lists become tuples, unknown or missing names raise."""
    types = typing.get_type_hints(kind)
    differ = set(types) ^ set(settings)
    if differ - (_NEWER - set(settings)):
        raise ValueError(f"{kind.__name__} has other names: {sorted(differ)}")

    def value(kind: typing.Any, x: typing.Any) -> typing.Any:
        if dataclasses.is_dataclass(kind):
            return _build(kind, x)
        return tuple(x) if isinstance(x, list) else x

    return kind(**{name: value(types[name], x) for name, x in settings.items()})


def load(
    directory: Path, compute: Compute | None = None, dtype: DTypeLike | None = None
) -> tuple[EmojiConfig, nnx.GraphDef, nnx.State]:
    """Reads a checkpoint; every weight must be there, with its shape, and no other.

    Args:
      directory: of the checkpoint.
      compute: how the networks shall compute.
      dtype: of the matrices and kernels in memory, fp32 by default. Norms, biases and the
        autoencoder always stay fp32.

    Returns:
      Configuration, graph and parameters: `nnx.merge(graph, parameters)` is the model.

    Raises:
      UserError: missing, damaged or foreign.
    """
    directory = find(directory.absolute())
    cfg = read_config(directory)
    try:
        graph, state = abstract(cfg, compute)
    except Exception as error:  # sizes that don't fit each other show in many ways
        raise UserError(f"{directory / _CONFIG} describes no model: {error}") from None
    for name in state:
        wanted = {
            key: jax.ShapeDtypeStruct(
                leaf.shape,
                leaf.dtype if name == "vae" or len(leaf.shape) < 2 else dtype or leaf.dtype,
            )
            for key, leaf in flatten(state[name]).items()
        }
        nnx.update(state[name], unflatten(state[name], restore(directory / name, wanted)))
    return cfg, graph, state


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stored parameters of one network.

    Raises:
      UserError: missing or damaged.
    """
    if not path.is_dir():
        raise UserError(f"{path} is missing: the checkpoint is not whole")
    try:
        with _checkpointer() as checkpointer:
            metadata: typing.Any = checkpointer.metadata(path).item_metadata
        return {key: tuple(leaf.shape) for key, leaf in metadata.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is missing or damaged: {str(error).splitlines()[0]}") from None


def restore(path: Path, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> Flat:
    """The parameters of one network, with the types that are wanted.

    Raises:
      UserError: missing, damaged, or with other names or shapes.
    """
    check_names(path, {key: leaf.shape for key, leaf in wanted.items()}, shapes(path))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    targets = {
        key: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
        for key, leaf in wanted.items()
    }
    try:
        with _checkpointer() as checkpointer:
            return checkpointer.restore(path, targets)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def check_names(
    source: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises a UserError unless names and shapes agree exactly."""
    differences = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} {tuple(found[name])} instead of {tuple(shape)}"
            for name, shape in wanted.items()
            if name in found and tuple(found[name]) != tuple(shape)
        ],
    }
    told = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in differences.items()
        if names
    ]
    if told:
        raise UserError(f"{source} does not fit this model: {'; '.join(told)}")


def unflatten(shapes: nnx.State, flat: Flat) -> nnx.State:
    """Leaves by dotted path as a state, the inverse of `flatten`.

    Args:
      shapes: a state with the same paths.
      flat: the leaves.
    """
    paths = [path for path, _ in nnx.to_flat_state(shapes)]
    leaves = [(path, nnx.Param(flat[".".join(map(str, path))])) for path in paths]
    return nnx.from_flat_state(leaves)
