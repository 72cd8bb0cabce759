"""`python -m emoji_jax.ablate`: which commands it gives, and what it refuses."""

import json
from pathlib import Path

import pytest
from absl import flags

from emoji_jax import ablate
from emoji_jax.bench.ablation import COLUMNS, FULL, means
from emoji_jax.errors import UserError


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Commands that were given; each leaves what the real one would."""
    commands = []

    def run(name, *arguments):
        commands.append((name, *arguments))
        options = dict(a.lstrip("-").split("=", 1) for a in arguments if "=" in a)
        if name == "train":
            weights = Path(options["workdir"]) / "weights"
            weights.mkdir(parents=True)
            (weights / "config.json").write_text("{}")
        else:
            numbers = {c[1]: {"mean": 0.5} for c in COLUMNS.values()}
            results = {"means": {"checkpoint": {"self": numbers, "cross": numbers}}}
            Path(options["out"]).mkdir(parents=True)
            (Path(options["out"]) / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(ablate, "run", run)

    def ablated(*options):
        commands.clear()
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["ablate", f"--out={tmp_path / 'out'}", *options])
        try:
            ablate.main()
        finally:
            flags.FLAGS.unparse_flags()
            for name in ("rows", "steps1", "steps2", "start", "out"):
                flags.FLAGS[name].unparse()
            flags.FLAGS.mark_as_parsed()
        return list(commands)

    return ablated


OPTIONS = ("--rows=no_pupils", "--steps1=7", "--steps2=3", "--start=somewhere")


def test_rows_are_trained_and_measured_once(told, tmp_path, capsys):
    given = told(*OPTIONS)
    assert [command[0] for command in given] == ["train", "train", "evaluate"] * 2
    full1, full2, _, row1, row2, measured = given
    assert full1[1].endswith("tiny_stage1.py") and "--config.start=somewhere" in full1
    assert full2[1].endswith("tiny_stage2.py") and "--config.train.steps=3" in full2
    assert row1[1].endswith("ablations/no_pupils.py:tiny_stage1")
    assert "--config.train.steps=7" in row1
    # Stage 2 begins with the row's own stage 1.
    assert f"--config.start={tmp_path / 'out' / 'no_pupils' / 'stage1'}" in row2
    weights = tmp_path / "out" / "no_pupils" / "stage2" / "weights"
    assert f"--checkpoint={weights}" in measured
    assert "| no_pupils |" in capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").exists()
    assert means(tmp_path / "out" / FULL / "evaluation" / "results.json")["L1"] == 0.5


def test_other_budgets_are_not_mixed(told):
    told(*OPTIONS)
    with pytest.raises(UserError, match="rows of other options"):
        told(*OPTIONS[:1], "--steps1=8", *OPTIONS[2:])


def test_unknown_rows(told):
    with pytest.raises(UserError, match="no row is called no_hands"):
        told("--rows=no_hands")


def test_a_training_that_was_stopped(monkeypatch, told, tmp_path):
    monkeypatch.setattr(ablate, "run", lambda name, *arguments: None)
    with pytest.raises(UserError, match="was stopped; the same command goes on"):
        told(*OPTIONS)
