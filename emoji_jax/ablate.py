"""Trains and evaluates the rows of the paper's table 2 (arXiv 2406.01900), at any budget.

python -m emoji_jax.ablate --base tiny --start runs/vae --steps1 2000 --steps2 500 --out ablations

Every row trains both stages by `emoji_jax.train` with its configs/ablations/ROW.py, and is measured
by `emoji_jax.evaluate`. Writes table.md: our numbers, the paper's, and whether what a row changes
has the same sign. The same command goes on where it was stopped.
"""

from pathlib import Path

from absl import flags

from emoji_jax import command

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
_OWN = [
    flags.DEFINE_string(name, None, f"Of all evaluations; see emoji_jax.evaluate's --{name}.")
    for name in ("arcface", "alexnet", "hyperiqa")
]
_OUT = flags.DEFINE_string("out", None, "Folder for everything.", required=True)


def main() -> None:
    """Does what the flags say."""
    from emoji_jax.bench import ablation, record, report

    rows, out = ablation.chosen(_ROWS.value), Path(_OUT.value)
    steps = [steps.value for steps in _STEPS]
    own = [f"--{flag.name}={flag.value}" for flag in _OWN if flag.value]
    budget = ablation.Budget(_BASE.value, _START.value, steps, _OPTIONS.value, _BENCH.value, own)
    text = report.markdown(ablation.ablate(rows, budget, out))
    record.write(out / "table.md", text + "\n")
    print(text)


if __name__ == "__main__":
    command.run(main)
