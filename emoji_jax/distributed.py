"""Several processes that train as one: found in the environment, or told by flags."""

import faulthandler
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from emoji_jax.errors import UserError

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes, where nothing else tells."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many there are, with --coordinator.", 1)
_PROCESS = flags.DEFINE_integer("process", None, "Which one this is, with --coordinator.", 0)

# Seconds until the others know that a process is gone.
_HEARTBEAT = 30
# Numbers of processes by the launchers that JAX can read everything else from.
_LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def declare_flags() -> None:
    """Shows the flags among those of the command."""
    for name in ("coordinator", "processes", "process"):
        flags.declare_key_flag(name)


@contextmanager
def processes() -> Iterator[None]:
    """Makes JAX one over all processes, before anything asks it for devices.

    Told by flags, by `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, by Slurm,
    Open MPI, or a TPU VM's metadata. A process that fails ends at once, without waiting for the
    others, which learn of it and end, too.

    Raises:
      UserError: the processes don't come together.
    """
    arguments = _arguments()
    if arguments is None:
        yield
        return
    import jax

    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=_HEARTBEAT)
    except ValueError as error:  # what may pass is a RuntimeError, and begun anew
        raise UserError(f"the processes don't come together: {str(error)[:300]}") from None
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        _leave(error)
    jax.distributed.shutdown()


def _arguments() -> dict | None:
    """What `jax.distributed.initialize` is to be given; None if there is one process."""
    where, processes, process = told = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if any(x is not None for x in told):
        if where is None or processes is None or process is None:
            raise UserError("give --coordinator, --processes and --process together")
        if process >= processes:
            raise UserError(f"--process is {process}; expected less than --processes={processes}")
        return {"coordinator_address": where, "num_processes": processes, "process_id": process}
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        try:
            return {
                "coordinator_address": os.environ["JAX_COORDINATOR_ADDRESS"],
                "num_processes": int(os.environ["JAX_NUM_PROCESSES"]),
                "process_id": int(os.environ["JAX_PROCESS_ID"]),
            }
        except (KeyError, ValueError) as error:
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS is set, but not JAX_NUM_PROCESSES and JAX_PROCESS_ID to "
                f"numbers ({error})"
            ) from None
    several = any(os.environ.get(name, "1") != "1" for name in _LAUNCHERS)
    return {} if several or _on_tpu_vm() else None


def _on_tpu_vm() -> bool:
    """Whether JAX is going to use this machine's TPU; a single host of them is one process."""
    if os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu":
        return False
    chips = [*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _leave(error: BaseException) -> None:
    """Ends this process without the barrier at JAX's exit, at which it would wait for the others.

    Exit codes are those of `command.run`.
    """
    if isinstance(error, UserError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    else:
        traceback.print_exception(error)
        print("error: if another process ended first, this is only how it shows", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2 if isinstance(error, UserError) else 1)


class Watchdog:
    """Ends the process, stacks printed, when it has not been fed for a while; 0 seconds: never.

    A collective of which a participant is gone can wait for ever, without any Python running.
    """

    def __init__(self, seconds: int | float):
        self._seconds = seconds

    def feed(self) -> None:
        """Starts to count anew."""
        if self._seconds:
            faulthandler.dump_traceback_later(self._seconds, exit=True)

    def stop(self) -> None:
        """No longer counts."""
        faulthandler.cancel_dump_traceback_later()
