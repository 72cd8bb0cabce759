"""Makes a benchmark for `emoji_jax.evaluate`.

python -m emoji_jax.bench --portraits DIR --drivers DIR --out DIR
python -m emoji_jax.bench --mini --out DIR

Portraits in a folder inside --portraits have that folder's name as their style. What shows no face
is told, and left out.
"""

import sys
from pathlib import Path

from absl import flags

from emoji_jax import command
from emoji_jax.errors import UserError

_MINI = flags.DEFINE_bool("mini", False, "EmojiBench-mini, of generated and bundled material.")
_PORTRAITS = flags.DEFINE_string("portraits", None, "Folder of pictures, or of folders of them.")
_DRIVERS = flags.DEFINE_string("drivers", None, "Folder of videos.")
_OUT = flags.DEFINE_string("out", None, "Name of a new folder.", required=True)
_NAME = flags.DEFINE_string("name", "EmojiBench", "How reports shall call it.")
_SIZE = flags.DEFINE_integer("size", 256, "Side of its pictures, pixels.")
_FRAMES = flags.DEFINE_integer("frames", 64, "Of each clip that are measured, after its first.")
_EACH = flags.DEFINE_integer("drivers_each", 1, "Drivers of each portrait.")


def main() -> None:
    """Does what the flags say."""
    portraits, drivers = _PORTRAITS.value, _DRIVERS.value
    mistake = UserError("expected --mini, or both --portraits=DIR and --drivers=DIR")
    if _MINI.value and (portraits or drivers):
        raise mistake
    from emoji_jax.bench import build, mini

    out, left_out = Path(_OUT.value), []
    if _MINI.value:
        bench = mini.make(out)
    elif not (portraits and drivers):
        raise mistake
    else:
        config = build.BenchConfig(_NAME.value, _SIZE.value, _FRAMES.value, _EACH.value)

        def refused(name: object, reason: str) -> None:
            left_out.append(name)
            print(f"{name} is left out: {reason}", file=sys.stderr)

        bench = build.build(Path(portraits), Path(drivers), out, config, refused)
    print(
        f"{out}: {len(bench.styles)} portraits, {len(bench.drivers)} drivers, "
        f"{len(bench.pairs)} pairs, {len(left_out)} files left out, checksum {bench.checksum[:16]}"
    )


if __name__ == "__main__":
    command.run(main)
