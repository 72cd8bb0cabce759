"""Table 2 of the paper (arXiv 2406.01900): its rows trained and measured, and ours beside it."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from emoji_jax import config as config_file
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


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every row is trained with, and what it is measured on.

    Attributes:
      base: tiny or paper.
      start: weights that stage 1 starts from.
      steps: of stages 1 and 2; None is what the configuration says.
      options: of all trainings, as on the command line.
      bench: mini, or the folder of a benchmark.
    """

    base: str
    start: Sequence[str]
    steps: Sequence[int | None]
    options: Sequence[str]
    bench: str


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
    return table({row: means(out / row / "evaluation" / "results.json") for row in rows})


def _note(budget: Budget, out: Path) -> None:
    """Remembers the budget: rows of different ones can't be compared."""
    told = {k: v if isinstance(v, str) else list(v) for k, v in vars(budget).items()}
    path = out / "settings.json"
    try:
        if path.exists() and json.loads(path.read_text()) != told:
            raise UserError(f"{out} has rows of other options; expected a new folder")
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror}") from None


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
                *([f"--config.start={','.join(start)}"] if start else []),
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
    )


def run(name: str, *arguments: str) -> None:
    """A command of this package; what it says about a mistake stands on stderr already."""
    done = subprocess.run([sys.executable, "-m", f"emoji_jax.{name}", *arguments], check=False)
    if done.returncode:
        raise UserError(f"`python -m emoji_jax.{name} {' '.join(arguments)}` failed")
