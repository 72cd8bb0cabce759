"""Trains the networks; the same command goes on with a run that was stopped.

python -m emoji_jax.train --config=configs/stage1.py --workdir=runs/stage1
"""

import sys
from pathlib import Path

from absl import flags

from emoji_jax import command, distributed
from emoji_jax import config as config_file

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, metrics, pictures, and in the end weights."
)
_STOPPED_CODE = flags.DEFINE_integer(
    "stopped_code",
    0,
    "Exit code of a run that SIGTERM stopped, and that saved: 75 for launchers that begin anew "
    "what failed.",
)
_CONFIG = config_file.flag("stage1.py")
flags.declare_key_flag("config")
distributed.declare_flags()


def main() -> None:
    """Does what the flags say."""
    from emoji_jax.errors import UserError
    from emoji_jax.training.run import Run

    if not _WORKDIR.value:
        raise UserError("give --workdir, a folder for what the run writes")
    with distributed.processes():
        step = Run(_CONFIG.value, Path(_WORKDIR.value)).train()
    whole = step >= _CONFIG.value.train.steps
    print(f"{_WORKDIR.value}: " + ("done" if whole else f"stopped after step {step}, and saved"))
    if not whole:
        sys.exit(_STOPPED_CODE.value)


if __name__ == "__main__":
    command.run(main)
