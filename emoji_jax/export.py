"""Makes a checkpoint to sample from of any step of a training run.

python -m emoji_jax.export --workdir runs/stage2 --out my_checkpoint --dtype bfloat16
"""

from pathlib import Path

from absl import flags

from emoji_jax import command
from emoji_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_STEP = flags.DEFINE_integer("step", None, "Which of its checkpoints; by default the newest.")
_OUT = flags.DEFINE_string("out", None, "Folder for the checkpoint; must not exist yet.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of matrices and kernels in the files."
)


def main() -> None:
    """Does what the flags say."""
    import jax.numpy as jnp

    from emoji_jax.training import export
    from emoji_jax.training.run import Run

    if not (_WORKDIR.value and _OUT.value):
        raise UserError("give --workdir, the folder of a run, and --out, a folder to write")
    out = Path(_OUT.value)
    if out.exists():
        raise UserError(f"{out} exists already; give another --out or remove it")
    run = Run.of(Path(_WORKDIR.value))
    state = run.checkpoints.restore(run.shapes(), None, _STEP.value)
    export.write(out, run.finished(state), state.best, jnp.dtype(_DTYPE.value))
    print(f"{out}: step {int(state.step)}")


if __name__ == "__main__":
    command.run(main)
