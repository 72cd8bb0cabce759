"""Animates many portraits: a table of pairs, or every portrait of a folder with every driver.

python -m emoji_jax.batch --pairs pairs.csv --out results
python -m emoji_jax.batch --portraits DIR --drivers DIR --out results

The table has the columns ref and driving, and may have out, seed and any option of sampling by its
name, e.g. controls.mouth or motion.speed; files are relative to the table. What becomes of each
pair is told in results/results.jsonl; a bad pair stops no other.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from emoji_jax import command, options, pairs
from emoji_jax import config as config_file
from emoji_jax.errors import UserError
from emoji_jax.video_writer import check_path

_PAIRS = flags.DEFINE_string("pairs", None, "Table (.csv) of portraits and drivers.")
_PORTRAITS = flags.DEFINE_string("portraits", None, "Folder of portraits.")
_DRIVERS = flags.DEFINE_string("drivers", None, "Folder of drivers, for each of --portraits.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_SUFFIX = flags.DEFINE_string("suffix", ".mp4", "Of results that the table does not name.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "tiny", "Bundled checkpoint or folder of one.")
_RESUME = flags.DEFINE_bool("resume", False, "Leave out what is done already, and go on.")
_PART = flags.DEFINE_integer("part", 0, "Which part of the pairs to make, of --parts.", 0)
_PARTS = flags.DEFINE_integer("parts", 1, "Processes that share the pairs, each its part.", 1)
_CONFIG = config_file.flag("sample.py")
flags.declare_key_flag("config")

# Motions that are remembered, for the next pair may have the same.
_DRIVERS_KEPT = 8


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

    out.mkdir(parents=True, exist_ok=True)
    report = out / (f"results.{_PART.value}.jsonl" if _PARTS.value > 1 else "results.jsonl")
    before = _done(report) if _RESUME.value else []
    kept = {result["out"] for result in before}
    batch = Batch(Animator.load(_CHECKPOINT.value, **loading), out)
    told = list(before)
    with report.open("w") as file:
        file.writelines(json.dumps(result) + "\n" for result in before)
        for result in batch.run([pair for pair in mine if pair.out not in kept]):
            told.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{result['out']}: {result.get('error', 'done')}", file=sys.stderr)
    bad = sum("error" in result for result in told)
    if bad:
        raise UserError(f"{bad} of {len(told)} pairs failed; {report} says why")
    print(f"{out}: {len(told)} results")


def _pairs() -> list[pairs.Pair]:
    folders = [_PORTRAITS.value, _DRIVERS.value]
    if _PAIRS.value and not any(folders):
        return pairs.read_table(Path(_PAIRS.value), _SUFFIX.value)
    if not _PAIRS.value and all(folders):
        return pairs.of_folders(Path(folders[0]), Path(folders[1]), _SUFFIX.value)
    raise UserError("expected --pairs=TABLE.csv, or both --portraits=DIR and --drivers=DIR")


def _done(report: Path) -> list[dict[str, Any]]:
    """What an earlier run reports as done, as far as it is still there."""
    if not report.exists():
        return []
    try:
        results = [json.loads(line) for line in report.read_text().splitlines()]
        return [r for r in results if "error" not in r and (report.parent / r["out"]).exists()]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{report} is damaged; start without --resume") from None


class Batch:
    """Makes pairs with one checkpoint, and as many at a time as fit one batch of windows."""

    def __init__(self, animator: Any, out: Path):
        self._animator, self._out, self._drivers = animator, out, {}

    def run(self, chosen: Sequence[pairs.Pair]) -> Iterator[dict[str, Any]]:
        """What became of each pair, in an order of its own."""
        waiting: list[tuple[pairs.Pair, Any, float]] = []
        for pair in chosen:
            start = time.monotonic()
            try:
                animation = self._prepare(pair)
            except UserError as error:
                yield _told(pair, error=str(error))
                continue
            if waiting and not _alike(waiting[0][1], animation):
                yield from self._make(waiting)
                waiting = []
            waiting.append((pair, animation, start))
            if len(waiting) == self._together(animation):
                yield from self._make(waiting)
                waiting = []
        yield from self._make(waiting)

    def _together(self, animation: Any) -> int:
        sampler = animation.actors[0].recipe.sampler
        return sampler.batch or self._animator.programs.devices

    def _prepare(self, pair: pairs.Pair) -> Any:
        from emoji_jax.driver import read

        check_path(self._out / pair.out)
        given = pairs.configured(_CONFIG.value, pair.options)
        key = (pair.driving, given["moving"])
        if key not in self._drivers:
            animator = self._animator
            if len(self._drivers) == _DRIVERS_KEPT:
                self._drivers.pop(next(iter(self._drivers)))
            self._drivers[key] = read(
                pair.driving, given["moving"], lambda: animator.detector, lambda *_: None
            )
        return self._animator(pair.ref, self._drivers[key], **given)

    def _make(self, group: list[tuple[pairs.Pair, Any, float]]) -> Iterator[dict[str, Any]]:
        from emoji_jax.animation import denoise

        if not group:
            return
        actors = [animation.actors[0] for _, animation, _ in group]
        if len(group) == 1:
            actors = list(group[0][1].actors)
        latents = denoise(actors)
        parts = [latents] if len(group) == 1 else latents[:, None]
        for (pair, animation, start), part in zip(group, parts, strict=True):
            try:
                animation.write(self._out / pair.out, part)
            except UserError as error:
                yield _told(pair, error=str(error))
                continue
            seconds = round(time.monotonic() - start, 2)
            notes = list(animation.notes)
            yield _told(pair, frames=len(animation), seconds=seconds, notes=notes)


def _alike(a: Any, b: Any) -> bool:
    """Whether two animations can be made in one batch."""
    one = len(a.actors) == len(b.actors) == 1
    recipes = [dict(vars(x.actors[0].recipe), progress=None) for x in (a, b)]
    return one and len(a) == len(b) and recipes[0] == recipes[1]


def _told(pair: pairs.Pair, **result: Any) -> dict[str, Any]:
    return {
        "ref": pair.ref,
        "driving": pair.driving,
        "out": pair.out,
        "options": dict(pair.options),
        **result,
    }


if __name__ == "__main__":
    command.run(main)
