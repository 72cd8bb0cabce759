"""Which device holds what: a mesh of data x fsdp, and one rule for parameters by their shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emoji_jax.errors import UserError

# Both axes divide the batch; fsdp also divides parameters and what the optimiser keeps of them.
BATCH = PartitionSpec(("data", "fsdp"))
# Smaller arrays are not worth the communication.
_SMALLEST = 2**14


def mesh(
    fsdp: int = 1,
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore
) -> Mesh:
    """The devices as a mesh.

    Args:
      fsdp: over how many devices parameters are divided; 1 gives every device all of them.
      devices: which, by default all of all processes.

    Raises:
      UserError: not a divisor of the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise UserError(f"mesh.fsdp is {fsdp}; expected a divisor of the {len(devices)} devices")
    # Auto: models don't speak of shardings.
    return jax.make_mesh(
        (len(devices) // fsdp, fsdp),
        ("data", "fsdp"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=devices,
    )


def of_shape(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """A large array is divided along its largest axis that can be, all others are copied."""
    parts = mesh.shape["fsdp"]
    spec: list[str | None] = [None] * len(shape)
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts > 1 and axes and np.prod(shape) >= _SMALLEST:
        spec[max(axes, key=lambda axis: shape[axis])] = "fsdp"
    return NamedSharding(mesh, PartitionSpec(*spec))


def of_tree(tree: Any, mesh: Mesh) -> Any:
    """Shardings of everything in a tree of arrays or shapes."""
    return jax.tree.map(lambda leaf: of_shape(tuple(leaf.shape), mesh), tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Puts host arrays, the same in every process, on the devices."""

    def put(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(
            leaf.shape, of_shape(leaf.shape, mesh), lambda index: leaf[index]
        )

    return jax.tree.map(put, tree)


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """The global batch of which each process has its part; clips' numbers stay behind."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, x)
        for name, x in batch.items()
        if name != "clip"
    }


def local(x: jax.Array) -> np.ndarray:
    """This process's part of an array that is divided like a batch, in the batch's order."""
    parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def check_batch(batch: int, accumulate: int, mesh: Mesh) -> None:
    """Raises a UserError unless every device gets equally many samples each time."""
    if accumulate < 1 or batch < 1 or batch % (accumulate * mesh.size):
        raise UserError(
            f"train.batch_size is {batch}; expected a multiple of {accumulate * mesh.size}: "
            f"{mesh.size} devices x train.accumulate = {accumulate}"
        )
