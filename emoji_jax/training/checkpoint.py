"""Checkpoints of a run: what a step changes, and where the input is, saved beside the training."""

import contextlib
import dataclasses
import logging
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import Array
from orbax.checkpoint.checkpoint_managers import preservation_policy

from emoji_jax import json_file
from emoji_jax.errors import UserError
from emoji_jax.training.state import Parameters, TrainState

# That a step has not been validated is no cause for a warning.
logging.getLogger("absl").addFilter(lambda record: "tracked_metric" not in str(record.msg))
# That a checkpoint may take to be written.
_SECONDS = 3600
# Of free space over the size of what is saved, for indices and the input's state.
_MARGIN = 1.1


class DamagedError(UserError):
    """What was saved of a step is not what is read of it."""


def begun(workdir: Path) -> bool:
    """Whether a run has saved anything there."""
    saved = (workdir / "checkpoints").glob("*")
    return any(folder.name.isdigit() for folder in saved)  # unfinished ones have other names


class RunCheckpoints:
    """The checkpoints under `workdir`, and its frozen parameters, which are written once.

    Args:
      workdir: of the run.
      keep: newest checkpoints that are kept, besides the one with the lowest validation loss.
    """

    def __init__(self, workdir: Path, keep: int):
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(
                    get_metric_fn=_loss,
                    reverse=True,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        _leave_out_damaged_metrics(workdir / "checkpoints")
        self._directory, self._damaged = workdir / "checkpoints", workdir / "damaged"
        # As it was before any process could put one aside: they wait for each other just below.
        self._damaged_before = self._damaged.exists()
        self._frozen = workdir.absolute() / "frozen"
        self._manager = ocp.CheckpointManager(
            workdir.absolute() / "checkpoints",
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # Without it, Orbax forgets the metrics that the policy goes by.
                best_fn=_loss,
                best_mode="min",
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(timeout_secs=_SECONDS),
                create=True,
            ),
        )
        self._frozen_sums: list[int] = []

    def steps(self) -> list[int]:
        """Steps of which there are checkpoints."""
        return sorted(self._manager.all_steps())

    def save(
        self, state: TrainState, iterator: Any, validation: Mapping[str, float] | None
    ) -> None:
        """Saves beside the training; what went wrong comes up here, in the next call, or in `wait`.

        Args:
          state: of after the step.
          iterator: Grain's, or None.
          validation: metrics by which checkpoints are compared, if there are any.

        Raises:
          UserError: it can't be written; what was saved before is as it was.
        """
        self.wait()  # as saving would: what it still writes takes space, too
        step, changing = int(state.step), _changing(state)
        # Before that there may be some of a run that came to nothing.
        first = bool(state.frozen) and not self.steps()
        self._check_space((changing, state.frozen) if first else changing)
        parts: dict[str, Any] = {
            "state": ocp.args.StandardSave(changing),
            "sums": ocp.args.JsonSave(
                {"state": sums(changing), "frozen": self._sums(state.frozen)}
            ),
        }
        if iterator is not None:
            import grain

            parts["data"] = grain.checkpoint.CheckpointSave(iterator)
        try:
            if first:
                self._save_frozen(state.frozen)
            self._manager.save(
                step, args=ocp.args.Composite(**parts), metrics=dict(validation or {}) or None
            )
        except (OSError, ValueError) as error:  # TensorStore reports a full disk as the latter
            self._fail(error)

    def _sums(self, frozen: Parameters) -> list[int]:
        """Once a run: they don't change."""
        self._frozen_sums = self._frozen_sums or sums(frozen)
        return self._frozen_sums

    def _check_space(self, tree: Any) -> None:
        """Raises a UserError where what is to be saved won't fit.

        Found out in the middle of writing, it would be told by thousands of lines from below.
        """
        needed = sum(
            shard.data.nbytes for x in jax.tree.leaves(tree) for shard in x.addressable_shards
            if shard.replica_id == 0
        )  # fmt: skip
        free = shutil.disk_usage(self._directory).free
        if free < _MARGIN * needed:
            told = f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
            self._fail(OSError(f"the disk is full: {told}"))

    def _save_frozen(self, frozen: Parameters) -> None:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(self._frozen, dict(frozen), force=True)

    def _restore_frozen(self, like: Parameters, expected: list[int] | None) -> Parameters:
        if not like:
            return like
        told = f"{self._frozen}, what is not trained, is damaged or of another configuration"
        with _reading(told, UserError), ocp.StandardCheckpointer() as checkpointer:
            frozen = checkpointer.restore(self._frozen, _shapes(dict(like)))
        if expected and expected != self._sums(frozen):
            raise UserError(f"{told}: its numbers are not those that were saved")
        return frozen

    def follows(self, step: int) -> bool:
        """Whether the input's state of a step is for as many processes as there are now."""
        name = f"process_{jax.process_index()}-of-{jax.process_count()}.json"
        return (self._directory / str(step) / "data" / name).is_file()

    def wait(self) -> None:
        """Until everything is written.

        Raises:
          UserError: it can't be written.
        """
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):  # storage that is slow: nobody's mistake
            raise error
        steps = self.steps()
        kept = f"the last good checkpoint is step {steps[-1]}" if steps else "there is none yet"
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"{self._directory}: no checkpoint can be written ({reason}); {kept}"
        ) from None

    def newest(self, like: TrainState, iterator: Any) -> TrainState:
        """The newest checkpoint that is whole; damaged ones after it are put aside and told of.

        Args:
          like: as `restore` takes it.
          iterator: Grain's, which is set back.

        Raises:
          UserError: there is none that is whole; all stay where they are.
          RuntimeError: one was put aside, and of several processes all must begin anew.
        """
        damaged: list[DamagedError] = []
        steps = self.steps()[::-1]
        for step in steps:
            try:
                state = self.restore(like, iterator if self.follows(step) else None, step)
            except DamagedError as error:
                damaged.append(error)
                # Several can't try together: some may find whole what others don't.
                if jax.process_count() > 1 and len(steps) > 1 and not self._damaged_before:
                    self._put_aside(step, error)
                    raise RuntimeError("all begin anew with the checkpoint before") from None
                if jax.process_count() > 1:
                    raise  # a second one in a row is no accident
                continue
            for error, other in zip(damaged, steps, strict=False):
                self._put_aside(other, error)
            if damaged:
                self._manager.reload()
            return state
        raise damaged[0]

    def _put_aside(self, step: int, error: DamagedError) -> None:
        try:
            self._damaged.mkdir(exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f"{step}-", dir=self._damaged))
            try:
                (self._directory / str(step)).rename(place)
            except FileNotFoundError:  # another process did it
                place.rmdir()
        except OSError as reason:
            raise UserError(f"{error}; it can't be put aside: {reason.strerror}") from None
        print(f"{error}; it is put into {self._damaged}", file=sys.stderr)

    def restore(self, like: TrainState, iterator: Any, step: int | None = None) -> TrainState:
        """The newest checkpoint, or that of a step; also sets the iterator back.

        Args:
          like: a state with shapes, dtypes and shardings, e.g. the one before the first step.
          iterator: Grain's, or None.
          step: which one.

        Raises:
          DamagedError: it is damaged, or of another model.
          UserError: there is none, or it can't be read.
        """
        step = self._manager.latest_step() if step is None else step
        if step not in self._manager.all_steps():
            found = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"{self._directory} has no checkpoint of step {step}; found: {found}")
        parts: dict[str, Any] = {"state": ocp.args.StandardRestore(_shapes(_changing(like)))}
        if (self._directory / str(step) / "sums").is_dir():
            parts["sums"] = ocp.args.JsonRestore()
        if iterator is not None:
            import grain

            parts["data"] = grain.checkpoint.CheckpointRestore(iterator)
        told = f"{self._directory}: step {step} is damaged or of another configuration"
        with _reading(told, DamagedError):
            restored = self._manager.restore(step, args=ocp.args.Composite(**parts))
        expected = restored.get("sums") or {}
        if expected and expected["state"] != sums(restored["state"]):
            raise DamagedError(f"{told}: its numbers are not those that were saved")
        frozen = self._restore_frozen(like.frozen, expected.get("frozen"))
        return dataclasses.replace(like, frozen=frozen, **restored["state"])

    def reached_preemption(self, step: int) -> bool:
        """Whether any process of several was told to stop; the same answer in all of them."""
        return jax.process_count() > 1 and self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits, then lets go of the files."""
        self._manager.close()


@contextlib.contextmanager
def _reading(told: str, kind: type[UserError]) -> Iterator[None]:
    """Tells what readers and decoders of damaged files raise, whatever it is, as that error.

    What the devices or other processes have failed at says nothing about a file.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except PermissionError as error:
        raise UserError(f"{error.filename} can't be read: {error.strerror}") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise kind(f"{told}: {reason}") from None


def sums(tree: Any) -> list[int]:
    """A sum of each array's bits, weighted by their places; the same on any number of devices.

    Files that come back with other bytes than were written would otherwise go unnoticed: of what
    is in a checkpoint only the indices have sums of their own.
    """
    return [int(x) for x in jax.device_get([_sum(x) for x in jax.tree.leaves(tree)])]


@jax.jit
def _sum(x: Array) -> Array:
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    place = jnp.zeros_like(bits)
    for axis, size in enumerate(x.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place = place * jnp.uint32(size) + along
    # Times an odd number, no changed bit vanishes.
    return (bits * (2 * place + 1)).sum(dtype=jnp.uint32)


def _leave_out_damaged_metrics(directory: Path) -> None:
    """So that nothing but the choice of the best one suffers: Orbax reads them all at once."""
    for path in directory.glob("*/metrics/metrics"):
        try:
            _loss(json_file.read(path))
        except (OSError, ValueError, KeyError, TypeError):
            with contextlib.suppress(OSError):
                path.parent.rename(path.parent.with_name("metrics.damaged"))
            print(f"{path} is damaged, and left out", file=sys.stderr)


def _loss(metrics: Mapping[str, float]) -> float:
    """By which checkpoints are compared; what is no number is the worst."""
    loss = metrics["validation_loss"]
    return loss if math.isfinite(loss) else math.inf


def _changing(state: TrainState) -> dict[str, Any]:
    changing = {"step": state.step, "trained": dict(state.trained), "moments": state.moments}
    return changing if state.average is None else {**changing, "average": dict(state.average)}


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
