"""Table 2 of the paper (arXiv 2406.01900): its rows trained and measured, and ours beside it."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from emoji_jax import config as config_file
from emoji_jax.bench import record
from emoji_jax.errors import UserError

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

# Of each of its columns: which kind of pairs, our name, whether more is better there, and how many
# of its units one of ours is.
COLUMNS = {
    "L1": ("self", "l1", False, 1),
    "SSIM": ("self", "ssim", True, 1),
    "LPIPS": ("self", "lpips", False, 1),
    "FVD": ("self", "fvd", False, 1),
    "ID similarity": ("cross", "identity", True, 1),
    "image quality": ("cross", "quality", True, 1),
    "landmark accuracy": ("cross", "accuracy", True, 100),
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number of ours for a column of the table.

    Attributes:
      value: in the table's unit; NaN where there is none.
      heading: what it is, which may be a substitute for what the paper measures.
      more: whether more is better.
    """

    value: float
    heading: str
    more: bool


def measured(path: Path) -> dict[str, Measured]:
    """Of each of the table's columns what a row's `results.json` says."""
    told = record.read(path)
    try:
        (method,) = told["means"].values()
        found = {}
        for column, (kind, name, _, unit) in COLUMNS.items():
            mean = value["mean"] if (value := method[kind].get(name)) else float("nan")
            ours = told["columns"][name]
            found[column] = Measured(unit * mean, ours["heading"], ours["more"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}; remove its folder") from None
    return found


def table(found: dict[str, dict[str, Measured]]) -> list[list[str]]:
    """Ours and the paper's, and of each row how it changes what the full model measures.

    "worse" and "better" are against the full model; both of a pair should say the same.
    """
    full, head = found[FULL], ["row"]
    for name, (_, _, paper_more, unit) in COLUMNS.items():
        percent = ", %" if unit == 100 else ""
        ours = f"{full[name].heading}{percent} {_arrow(full[name].more)}"
        head.append(f"ours: {ours}; the paper's: {name}{percent} {_arrow(paper_more)}")
    lines = [head]
    for row, ours in found.items():
        cells = []
        for i, (name, (_, _, paper_more, _)) in enumerate(COLUMNS.items()):
            mine = _side(ours[name].value, full[name].value, ours[name].more)
            theirs = _side(PAPER[row][i], PAPER[FULL][i], paper_more)
            same = (" ✓" if mine == theirs else " ✗") if mine and theirs else ""
            value = "-" if math.isnan(ours[name].value) else f"{ours[name].value:.3g}"
            told = (f"{value} {mine}".strip(), f"{PAPER[row][i]:g} {theirs}".strip())
            cells.append(", ".join(told) + same)
        lines.append([row, *cells])
    return lines


def _arrow(more: bool) -> str:
    return "↑" if more else "↓"


def _side(value: float, full: float, more: bool) -> str:
    """How a row's number is to the full model's; empty if it is the same, or there is none."""
    if value == full or math.isnan(value) or math.isnan(full):
        return ""
    return "better" if (value > full) == more else "worse"


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every row is trained with, and what it is measured on.

    Attributes:
      base: tiny or paper.
      start: weights that stage 1 starts from.
      steps: of stages 1 and 2; None is what the configuration says.
      options: of all trainings, as on the command line.
      bench: mini, or the folder of a benchmark.
      own: options of all evaluations, for a user's own weights of what measures.
    """

    base: str
    start: Sequence[str]
    steps: Sequence[int | None]
    options: Sequence[str]
    bench: str
    own: Sequence[str] = ()


def chosen(rows: Sequence[str] | None) -> list[str]:
    """Rows to do, the full model first; None is all.

    Raises:
      UserError: there is no such row.
    """
    known = [FULL, *(row for row in PAPER if row != FULL)]
    unknown = set(rows or ()) - set(known)
    if unknown:
        raise UserError(f"no row is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [row for row in known if rows is None or row in rows or row == FULL]


def ablate(rows: Sequence[str], budget: Budget, out: Path) -> list[list[str]]:
    """Trains and measures rows; what is done is not done again. Returns `table`."""
    _note(budget, out)
    for row in rows:
        train(row, budget, out / row)
        evaluate(budget, out / row)
    return table({row: measured(out / row / "evaluation" / "results.json") for row in rows})


def _note(budget: Budget, out: Path) -> None:
    """Remembers the budget: rows of different ones can't be compared."""
    told = {k: v if isinstance(v, str) else list(v) for k, v in vars(budget).items()}
    record.refuse_others(out / "settings.json", told, "rows of other options")
    record.write(out / "settings.json", json.dumps(told, indent=1) + "\n")


def train(row: str, budget: Budget, folder: Path) -> None:
    """Both stages of a row; a stage that is done is not trained again."""
    prefix = "tiny_" if budget.base == "tiny" else ""
    start = budget.start
    for number, steps in enumerate(budget.steps, 1):
        base = f"{prefix}stage{number}"
        workdir = folder / f"stage{number}"
        if not (workdir / "weights" / "config.json").exists():
            file = f"{base}.py" if row == FULL else f"ablations/{row}.py:{base}"
            run(
                "train",
                f"--config={config_file.folder() / file}",
                f"--workdir={workdir}",
                *([f"--config.start={','.join(map(repr, start))}"] if start else []),
                *([f"--config.train.steps={steps}"] if steps else []),
                *budget.options,
            )
            if not (workdir / "weights" / "config.json").exists():
                raise UserError(f"{workdir} was stopped; the same command goes on")
        start = [str(workdir)]


def evaluate(budget: Budget, folder: Path) -> None:
    """What a row's networks measure."""
    run(
        "evaluate",
        f"--bench={budget.bench}",
        f"--checkpoint={folder / 'stage2' / 'weights'}",
        f"--out={folder / 'evaluation'}",
        "--nobaselines",
        *budget.own,
    )


def run(name: str, *arguments: str) -> None:
    """A command of this package; what it says about a mistake stands on stderr already."""
    done = subprocess.run([sys.executable, "-m", f"emoji_jax.{name}", *arguments], check=False)
    if done.returncode:
        raise UserError(f"`python -m emoji_jax.{name} {' '.join(arguments)}` failed")
