"""Trains and evaluates the rows of the paper's table 2 (arXiv 2406.01900), at any budget.

python -m emoji_jax.ablate --base tiny --start runs/vae --steps1 2000 --steps2 500 --out ablations

Every row trains both stages by `emoji_jax.train` with its configs/ablations/ROW.py, and is measured
by `emoji_jax.evaluate`. Writes table.md: our numbers, the paper's, and whether what a row changes
has the same sign. The same command goes on where it was stopped.
"""

import json
import subprocess
import sys
from pathlib import Path

from absl import flags

from emoji_jax import command
from emoji_jax import config as config_file
from emoji_jax.errors import UserError

_BASE = flags.DEFINE_enum("base", "tiny", ["tiny", "paper"], "Which model.")
_START = flags.DEFINE_multi_string("start", [], "Weights that stage 1 starts from.")
_STEPS = [
    flags.DEFINE_integer("steps1", None, "Of stage 1; by default the configuration's.", 1),
    flags.DEFINE_integer("steps2", None, "Of stage 2.", 1),
]
_ROWS = flags.DEFINE_list("rows", None, "Only these rows, e.g. no_pupils,contour.")
_OPTIONS = flags.DEFINE_multi_string(
    "option", [], "Of all trainings, e.g. --option=--config.data.workers=4."
)
_BENCH = flags.DEFINE_string("bench", "mini", "mini, or the folder of a benchmark.")
_OUT = flags.DEFINE_string("out", None, "Folder for everything.", required=True)


def main() -> None:
    """Does what the flags say."""
    from emoji_jax.bench.ablation import FULL, PAPER, means, table

    rows = [FULL, *(row for row in PAPER if row != FULL)]
    if _ROWS.value:
        unknown = set(_ROWS.value) - set(rows)
        if unknown:
            raise UserError(f"no row is called {', '.join(unknown)}; there are {', '.join(rows)}")
        rows = [FULL, *(row for row in rows if row in _ROWS.value and row != FULL)]
    out = Path(_OUT.value)
    _note(out)
    for row in rows:
        train(row, out / row)
        evaluate(out / row)
    found = {row: means(out / row / "evaluation" / "results.json") for row in rows}
    from emoji_jax.bench import report

    text = report.markdown(table(found))
    (out / "table.md").write_text(text + "\n")
    print(text)


def _note(out: Path) -> None:
    """Remembers the budget: rows of different ones can't be compared."""
    told = {
        "base": _BASE.value,
        "start": _START.value,
        "steps": [steps.value for steps in _STEPS],
        "options": _OPTIONS.value,
        "bench": _BENCH.value,
    }
    path = out / "settings.json"
    try:
        if path.exists() and json.loads(path.read_text()) != told:
            raise UserError(f"{out} has rows of other options; expected a new folder")
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror}") from None


def train(row: str, folder: Path) -> None:
    """Both stages of a row; a stage that is done is not trained again."""
    prefix = "tiny_" if _BASE.value == "tiny" else ""
    start = _START.value
    for number, steps in enumerate(_STEPS, 1):
        base = f"{prefix}stage{number}"
        workdir = folder / f"stage{number}"
        if not (workdir / "weights" / "config.json").exists():
            full = row == "full"
            file = f"{base}.py" if full else f"ablations/{row}.py:{base}"
            argument = config_file.folder() / file
            limit = [f"--config.train.steps={steps.value}"] if steps.value else []
            given = [f"--config.start={','.join(start)}"] if start else []
            run(
                "train",
                f"--config={argument}",
                f"--workdir={workdir}",
                *given,
                *limit,
                *_OPTIONS.value,
            )
            if not (workdir / "weights" / "config.json").exists():
                raise UserError(f"{workdir} was stopped; the same command goes on")
        start = [str(workdir)]


def evaluate(folder: Path) -> None:
    """What a row's networks measure."""
    weights = folder / "stage2" / "weights"
    out = folder / "evaluation"
    run(
        "evaluate",
        f"--bench={_BENCH.value}",
        f"--checkpoint={weights}",
        f"--out={out}",
        "--nobaselines",
    )


def run(name: str, *arguments: str) -> None:
    """A command of this package; what it says about a mistake stands on stderr already."""
    done = subprocess.run([sys.executable, "-m", f"emoji_jax.{name}", *arguments], check=False)
    if done.returncode:
        raise UserError(f"`python -m emoji_jax.{name} {' '.join(arguments)}` failed")


if __name__ == "__main__":
    command.run(main)
