"""`python -m emoji_jax.ablate`: which commands it gives, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import pytest

from emoji_jax.bench import ablation
from emoji_jax.bench.ablation import COLUMNS, FULL, Budget, measured
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
            columns = {name: {"heading": f"our {name}", "more": True} for name in numbers}
            results = {"means": {"checkpoint": {"self": numbers, "cross": numbers}}}
            results["columns"] = columns
            Path(options["out"]).mkdir(parents=True)
            (Path(options["out"]) / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(ablation, "run", run)

    def ablated(rows, budget):
        commands.clear()
        ablation.ablate(ablation.chosen(rows), budget, tmp_path / "out")
        return list(commands)

    return ablated


BUDGET = Budget("tiny", ["somewhere"], [7, 3], [], "mini")


def test_rows_are_trained_and_measured_once(told, tmp_path):
    given = told(["no_pupils"], BUDGET)
    assert [command[0] for command in given] == ["train", "train", "evaluate"] * 2
    full1, full2, _, row1, row2, evaluated = given
    assert full1[1].endswith("tiny_stage1.py") and "--config.start='somewhere'" in full1
    assert full2[1].endswith("tiny_stage2.py") and "--config.train.steps=3" in full2
    assert row1[1].endswith("ablations/no_pupils.py:tiny_stage1")
    assert "--config.train.steps=7" in row1
    # Stage 2 begins with the row's own stage 1.
    assert f"--config.start='{tmp_path / 'out' / 'no_pupils' / 'stage1'}'" in row2
    weights = tmp_path / "out" / "no_pupils" / "stage2" / "weights"
    assert f"--checkpoint={weights}" in evaluated
    file = tmp_path / "out" / FULL / "evaluation" / "results.json"
    assert measured(file)["L1"] == ablation.Measured(0.5, "our l1", True)
    assert measured(file)["landmark accuracy"].value == 50
    for text in ("{", "{}"):
        file.write_text(text)
        with pytest.raises(UserError, match=r"results\.json is damaged"):
            measured(file)


def test_more_than_one_start(told):
    given = told([], dataclasses.replace(BUDGET, start=["a", "b,c"]))
    assert "--config.start='a','b,c'" in given[0]


def test_own_weights_measure_every_row(told):
    given = told([], dataclasses.replace(BUDGET, own=["--arcface=file"]))
    assert "--arcface=file" in given[-1] and "--arcface=file" not in given[0]


def test_other_budgets_are_not_mixed(told, tmp_path):
    told(["no_pupils"], BUDGET)
    with pytest.raises(UserError, match=r"other options \(what differs: steps\)"):
        told(["no_pupils"], dataclasses.replace(BUDGET, steps=[8, 3]))
    (tmp_path / "out" / "settings.json").write_text("{")
    with pytest.raises(UserError, match=r"settings\.json is damaged"):
        told(["no_pupils"], BUDGET)


def test_unknown_rows():
    with pytest.raises(UserError, match="no row is called no_hands"):
        ablation.chosen(["no_hands"])
    assert ablation.chosen(None)[0] == FULL and len(ablation.chosen(None)) == 7


def test_a_training_that_was_stopped(monkeypatch, told):
    monkeypatch.setattr(ablation, "run", lambda name, *arguments: None)
    with pytest.raises(UserError, match="was stopped; the same command goes on"):
        told(["no_pupils"], BUDGET)
