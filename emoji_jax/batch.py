"""Animates many portraits: a table of pairs, or every portrait of a folder with every driver.

python -m emoji_jax.batch --pairs pairs.csv --out results
python -m emoji_jax.batch --portraits DIR --drivers DIR --out results

The table has the columns ref and driving, and may have out, ref_landmarks, seed and any option of
sampling by its name, e.g. controls.mouth or motion.speed; files are relative to the table. What
becomes of each pair is told in results/results.jsonl; a bad pair stops no other.
"""

import json
import sys
from pathlib import Path

from absl import flags

from emoji_jax import command, files, options, pairs
from emoji_jax import config as config_file
from emoji_jax.errors import UserError

_PAIRS = flags.DEFINE_string("pairs", None, "Table (.csv) of portraits and drivers.")
_PORTRAITS = flags.DEFINE_string("portraits", None, "Folder of portraits.")
_DRIVERS = flags.DEFINE_string("drivers", None, "Folder of drivers, for each of --portraits.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_SUFFIX = flags.DEFINE_string("suffix", ".mp4", "Of results that the table does not name.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "tiny", "Bundled checkpoint or folder of one.")
_CREDENTIALS = flags.DEFINE_bool(
    "credentials", True, "Say in the files' metadata that they were generated."
)
_RESUME = flags.DEFINE_bool("resume", False, "Leave out what is done already, and go on.")
_PART = flags.DEFINE_integer("part", 0, "Which part of the pairs to make, of --parts.", 0)
_PARTS = flags.DEFINE_integer("parts", 1, "Processes that share the pairs, each its part.", 1)
_CONFIG = config_file.flag("sample.py")
flags.declare_key_flag("config")


def main() -> None:
    """Does what the flags say."""
    if _PART.value >= _PARTS.value:
        raise UserError(f"--part is {_PART.value}; expected less than --parts, {_PARTS.value}")
    mine = _pairs()[_PART.value :: _PARTS.value]
    out = Path(_OUT.value)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; expected a folder, or a name for a new one")
    loading = options.of_loading(_CONFIG.value)
    options.of_animating(_CONFIG.value)
    from emoji_jax.animator import Animator
    from emoji_jax.making import Batch, done

    out.mkdir(parents=True, exist_ok=True)
    report = out / (f"results.{_PART.value}.jsonl" if _PARTS.value > 1 else "results.jsonl")
    before = done(report, mine) if _RESUME.value else []
    kept = {result["out"] for result in before}
    animator = Animator.load(_CHECKPOINT.value, **loading)
    batch = Batch(animator, out, _CONFIG.value, credentials=_CREDENTIALS.value)
    told = list(before)
    with files.whole(report) as file:
        file.write_text("".join(json.dumps(result) + "\n" for result in before))
    with report.open("a") as file:
        for result in batch.run([pair for pair in mine if pair.out not in kept]):
            told.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{result['out']}: {result.get('error', 'done')}", file=sys.stderr)
    if batch.bugs:
        raise RuntimeError(f"{len(batch.bugs)} pairs failed by a bug; {report} has them too")
    bad = sum("error" in result for result in told)
    if bad:
        raise UserError(f"{bad} of {len(told)} pairs failed; {report} says why")
    print(f"{out}: {len(told)} results")


def _pairs() -> list[pairs.Pair]:
    table, portraits, drivers = _PAIRS.value, _PORTRAITS.value, _DRIVERS.value
    if table and not (portraits or drivers):
        return pairs.read_table(Path(table), _SUFFIX.value)
    if portraits and drivers and not table:
        return pairs.of_folders(Path(portraits), Path(drivers), _SUFFIX.value)
    raise UserError("expected --pairs=TABLE.csv, or both --portraits=DIR and --drivers=DIR")


if __name__ == "__main__":
    command.run(main)
