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

FULL = "full"
# L1, SSIM, LPIPS, FVD, identity, image quality, landmark accuracy in percent.
PAPER = {
    "no_expression_mask": (0.037, 0.702, 0.159, 147.4, 0.576, 53.792, 26.87),
    "no_face_mask": (0.036, 0.721, 0.157, 149.3, 0.548, 50.992, 34.21),
    "no_progressive": (0.035, 0.718, 0.141, 138.8, 0.632, 52.108, 35.32),
    "raw_landmarks": (0.039, 0.715, 0.166, 144.1, 0.521, 50.829, 17.45),
    "contour": (0.034, 0.784, 0.153, 128.5, 0.627, 59.781, 38.71),
    "no_pupils": (0.035, 0.762, 0.147, 103.2, 0.648, 61.436, 33.58),
    FULL: (0.029, 0.849, 0.136, 96.8, 0.702, 66.287, 39.16),
}
"""Table 2; its arrow at landmark accuracy points down, its text and table 1 say up."""

# Of each of its columns: which kind of pairs, our name, and whether more is better there and here.
COLUMNS = {
    "L1": ("self", "l1", False, False),
    "SSIM": ("self", "ssim", True, True),
    "LPIPS": ("self", "lpips", False, False),
    "FVD": ("self", "fvd", False, False),
    "identity": ("cross", "identity", True, True),
    "quality": ("cross", "quality", True, False),
    "landmarks": ("cross", "accuracy", True, True),
}


def main() -> None:
    """Does what the flags say."""
    rows = [FULL, *(row for row in PAPER if row != FULL)]
    if _ROWS.value:
        unknown = set(_ROWS.value) - set(rows)
        if unknown:
            raise UserError(f"no row is called {', '.join(unknown)}; there are {', '.join(rows)}")
        rows = [FULL, *(row for row in rows if row in _ROWS.value and row != FULL)]
    out = Path(_OUT.value)
    for row in rows:
        train(row, out / row)
        evaluate(out / row)
    found = {row: means(out / row / "evaluation" / "results.json") for row in rows}
    from emoji_jax.bench import report

    text = report.markdown(table(found))
    (out / "table.md").write_text(text + "\n")
    print(text)


def train(row: str, folder: Path) -> None:
    """Both stages of a row; a stage that is done is not trained again."""
    prefix = "tiny_" if _BASE.value == "tiny" else ""
    start = _START.value
    for number, steps in enumerate(_STEPS, 1):
        base = f"{prefix}stage{number}"
        workdir = folder / f"stage{number}"
        if not (workdir / "weights" / "config.json").exists():
            config = base if row == FULL else f"ablations/{row}"
            argument = f"configs/{config}.py" + ("" if row == FULL else f":{base}")
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


def means(path: Path) -> dict[str, float]:
    """Of each of the table's columns what a row measured, NaN where nothing."""
    (method,) = json.loads(path.read_text())["means"].values()
    found = {}
    for column, (kind, name, *_) in COLUMNS.items():
        value = method[kind].get(name)
        found[column] = value["mean"] if value else float("nan")
    return found


def table(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Ours and the paper's, and of each row how it changes what the full model measures.

    "worse" and "better" are against the full model; both of a pair should say the same.
    """
    lines = [["row", *(f"{name}: ours, the paper's" for name in COLUMNS)]]
    for row, ours in found.items():
        cells = []
        for i, (name, (*_, paper_more, our_more)) in enumerate(COLUMNS.items()):
            mine = _side(ours[name], found[FULL][name], our_more)
            theirs = _side(PAPER[row][i], PAPER[FULL][i], paper_more)
            same = "" if row == FULL else (" ✓" if mine == theirs else " ✗")
            cells.append(f"{ours[name]:.3g} {mine}, {PAPER[row][i]:g} {theirs}{same}")
        lines.append([row, *cells])
    return lines


def _side(value: float, full: float, more: bool) -> str:
    if value == full or value != value:
        return ""
    return "better" if (value > full) == more else "worse"


if __name__ == "__main__":
    command.run(main)
