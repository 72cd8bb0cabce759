"""`python -m emoji_jax.evaluate`, reports and the study's page."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax import assets
from emoji_jax.bench import ablation, report
from emoji_jax.bench.build import BenchConfig, write
from emoji_jax.bench.measure import THRESHOLDS, Column, Measurement
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.metrics import brisque
from tests.bench.test_study import browse

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def networks():
    """The files that evaluations need."""
    pytest.importorskip("onnx")
    try:
        for name in assets.ASSETS:
            assets.fetch(name)
    except UserError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """One portrait and two drivers of seventeen frames."""
    config = BenchConfig("small", size=64, frames=16, drivers_each=1)

    def clips():
        for i in range(2):
            frames, _ = synthetic.clip(7, i * synthetic.CLIPS_PER_IDENTITY, 17, 64)
            yield f"d{i}", frames

    (picture,) = synthetic.clip(7, 9 * synthetic.CLIPS_PER_IDENTITY, 1, 64)[0]
    out = tmp_path_factory.mktemp("bench") / "small"
    return write(out, config, iter([("p", "flat", picture)]), clips())


def evaluate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "emoji_jax.evaluate", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def results(bench, weights, networks, tmp_path_factory):
    """A checkpoint, both baselines and a method that cheats, measured by the command."""
    truth = tmp_path_factory.mktemp("truth")
    for pair in bench.pairs:
        clip = bench.clip(pair.driver)
        if pair.kind == "self":
            (truth / pair.name).mkdir()
            for i, frame in enumerate(clip[1:]):
                Image.fromarray(frame).save(truth / pair.name / f"{i}.png")
        else:  # with the first frame, and at another size
            first, *rest = (Image.fromarray(f).resize((96, 96)) for f in clip)
            first.save(
                truth / f"{pair.name}.webp", save_all=True, append_images=rest, lossless=True
            )
    out = tmp_path_factory.mktemp("evaluation") / "out"
    arguments = ("--bench", bench.folder, "--checkpoint", weights, "--pred", f"the truth={truth}")
    done = evaluate(*arguments, "--out", out, "--study", "--config.sampler.steps=2")
    assert done.returncode == 0, done.stderr
    return out, arguments


@pytest.mark.network
def test_numbers(results, bench):
    told = json.loads((results[0] / "results.json").read_text())
    assert told["checksum"] == bench.checksum and len(told["networks"]) == 7
    methods = ["checkpoint random", "repeated portrait", "warp", "the truth"]
    assert list(told["means"]) == methods
    mine = {method: told["means"][method]["self"] for method in methods}
    truth = mine["the truth"]
    assert truth["l1"]["mean"] == 0 and truth["ssim"]["mean"] == 1
    assert truth["lpips"]["mean"] == 0 and truth["fvd"]["mean"] < 1e-6
    # Faces of 30 pixels: one or the other is missed.
    assert truth["found"]["mean"] > 0.9 and truth["accuracy"]["mean"] > 0.98
    assert truth["pose"]["mean"] < 1 and truth["gaze"]["mean"] < 1e-6
    for name, column in told["columns"].items():
        if "self" in column["kinds"] and name in ("l1", "ssim", "lpips", "fvd", "accuracy"):
            best, still = truth[name]["mean"], mine["repeated portrait"][name]["mean"]
            assert (best > still) == column["more"], name
    assert mine["repeated portrait"]["identity"]["mean"] == pytest.approx(1, abs=1e-3)
    assert mine["repeated portrait"]["jitter"]["mean"] == pytest.approx(0, abs=1e-6)
    assert mine["warp"]["accuracy"]["mean"] > mine["repeated portrait"]["accuracy"]["mean"]
    # Networks that know nothing make no faces, and that is counted.
    assert mine["checkpoint random"]["found"]["mean"] < 0.5
    text = (results[0] / "report.md").read_text()
    assert "ST-LPIPS" in text and "FVD of 2 pieces" in text
    page = (results[0] / "report.html").read_text()
    assert "<td>AniPortrait</td>" in page and "<td>1.47</td>" in page
    assert "| AniPortrait |" in text and "| 1.47 |" in text
    assert 'lowers "faces found" and nothing else' in text
    asked = (results[0] / "study.html").read_text()
    assert '"cross_p_d0"' in asked and "Save answers" in asked


@pytest.mark.network
def test_goes_on_where_it_was(results):
    out, arguments = results
    one = out / "measured" / "warp" / "self_d0.json"
    before = one.read_text()
    others = {f: f.stat().st_mtime_ns for f in (out / "measured").rglob("*.json") if f != one}
    one.unlink()
    done = evaluate(*arguments, "--out", out, "--config.sampler.steps=2", "--part=1", "--parts=2")
    assert done.returncode == 0 and "1 results are still to be measured" in done.stdout
    done = evaluate(*arguments, "--out", out, "--config.sampler.steps=2")
    assert done.returncode == 0, done.stderr
    assert one.read_text() == before
    assert all(f.stat().st_mtime_ns == time for f, time in others.items())
    done = evaluate(*arguments, "--out", out, "--config.sampler.steps=3")
    assert done.returncode == 2 and "version (what differs: sampler)" in done.stderr


def save_result(folder, name, frames):
    """Frames as files, numbered."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name / f"{i:04}.png")


@pytest.mark.network
def test_bad_results_are_counted(bench, networks, tmp_path):
    good = tmp_path / "good"
    for pair in bench.pairs[1:]:
        save_result(good, pair.name, bench.clip(pair.driver)[: 9 if pair.name == "self_d1" else 17])
    arguments = ("--bench", bench.folder, "--checkpoint=", "--nobaselines", "--out")
    done = evaluate(*arguments, tmp_path / "out", "--pred", good)
    assert done.returncode == 2 and "2 results could not be measured" in done.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    assert "has no result self_d0" in text and "has 9 frames; expected 16" in text
    # Once they are there, they are measured.
    save_result(good, "self_d0", bench.clip("d0"))
    save_result(good, "self_d1", bench.clip("d1"))
    done = evaluate(*arguments, tmp_path / "out", "--pred", f"good={good}")
    assert done.returncode == 0, done.stderr
    # And again when they have changed.
    save_result(good, "self_d0", 255 - bench.clip("d0"))
    done = evaluate(*arguments, tmp_path / "out", "--pred", good)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["pairs"]["good"]["self_d0"]["l1"] > 0.1 > told["pairs"]["good"]["self_d1"]["l1"]
    (good / "self_d0" / "0007.png").unlink()
    done = evaluate(*arguments, tmp_path / "out", "--pred", good)
    assert done.returncode == 2
    assert "has a gap after frame 6" in (tmp_path / "out" / "report.md").read_text()
    (tmp_path / "file").write_text("")
    for more, message in (
        (("--pred", "a=nowhere"), "NAME=DIR"),
        (("--pred", f"a={good}", "--pred", f"a={good}"), "one name"),
        ((), "the methods are"),
        (("--bench", tmp_path), "no benchmark"),
        (("--pred", f"a={good}", "--arcface", "nowhere"), "nowhere can't be read"),
        (("--pred", good, "--config.motion.fps=5"), "config.motion has no say"),
        (("--pred", good, "--out", tmp_path / "file" / "out"), "can't be made"),
    ):
        done = evaluate(*arguments, tmp_path / "other", *more)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.network
def test_two_parts_together(bench, networks, tmp_path):
    """Also what they find wrong: weights of another network, and no result of a method."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "alexnet.pth").write_bytes(b"of something else")
    out = tmp_path / "out"
    methods = ("--checkpoint=", "--nobaselines", "--pred", tmp_path / "empty")
    arguments = ("--bench", bench.folder, *methods, "--out")
    done = evaluate(*arguments, out, "--alexnet", tmp_path / "alexnet.pth")
    assert done.returncode == 2 and "is another file: its SHA-256" in done.stderr
    assert not list(out.iterdir())
    with ThreadPoolExecutor() as pool:
        parts = [(*arguments, out, "--parts=2", f"--part={i}") for i in range(2)]
        codes = [done.returncode for done in pool.map(lambda part: evaluate(*part), parts)]
    # Who is last writes the report.
    assert 2 in codes and set(codes) <= {0, 2}
    told = json.loads((out / "results.json").read_text())
    rows = told["pairs"]["empty"]
    assert set(rows) == {pair.name for pair in bench.pairs}
    assert all("no result" in row["error"] for row in rows.values())


def rows(numbers):
    return {f"self_{i}": {"l1": x, "curve": None} for i, x in enumerate(numbers)}


def test_means_know_their_bounds():
    value = report.value(list(rows([1.0, 2.0, 3.0, None]).values()), "l1")
    assert value and (value.mean, value.count) == (2, 3) and 1 <= value.low < 2 < value.high <= 3
    assert report.value(list(rows([None]).values()), "l1") is None
    # One pair says nothing about others.
    assert report.value(list(rows([2.0]).values()), "l1") == report.Value(2.0, None, None, 1)
    rng = np.random.default_rng(0)
    videos = [{"features": rng.normal(size=(2, 8)), "truth": rng.normal(size=(2, 8))}] * 3
    found = report.value(videos, "fvd")
    assert found and found.count == 3 and found.low == pytest.approx(found.mean)
    videos = [{k: rng.normal(size=(4, 30)) for k in ("features", "truth")} for _ in range(45)]
    found = report.value(videos, "fvd")
    assert found and found.low < found.mean < found.high
    # Of pairs, of which one is not measured, not of their pieces.
    column = {"fvd": Column("FVD", False, ("self",))}
    measured = dict(enumerate(videos[:2])) | {2: {"error": "none"}}
    table = report.table({"a": {f"self_{i}": row for i, row in measured.items()}}, column, "self")
    assert table[1][1].endswith(", 2 of 3 pairs)")


def test_every_method_has_its_curve():
    row = {"curve": [0.5] * len(THRESHOLDS)}
    curves = report._curves({f"method {i}": {"self_0": row} for i in range(14)}, "self")
    assert all(f">method {i}</text>" in curves for i in range(14))
    lines = set(
        re.findall("stroke='(#[0-9a-f]+)' stroke-width='2' stroke-dasharray='(.+?)'", curves)
    )
    assert len(lines) == 14
    assert min(int(y) for y in re.findall("x='300' y='([0-9-]+)'", curves)) > 10


def test_ablations_are_compared_by_sign():
    columns = Measurement.columns_of()

    def measured(*values):
        found = {}
        for (name, (_, ours, _, unit)), value in zip(ablation.COLUMNS.items(), values, strict=True):
            column = columns[ours]
            found[name] = ablation.Measured(unit * value, column.heading, column.more)
        return found

    full = measured(0.03, 0.8, 0.1, 90.0, 0.7, 20.0, 0.4)
    worse = measured(0.04, 0.9, 0.1, 90.0, 0.7, 30.0, 0.3)
    head, first, row = ablation.table({ablation.FULL: full, "no_pupils": worse})
    assert first[1] == "0.03, 0.029" and head[0] == "row"
    # Substitutes are named, with their own direction.
    assert head[3] == "ours: ST-LPIPS (AlexNet) ↓; the paper's: LPIPS ↓"
    assert head[6] == f"ours: {brisque.NAME} ↓; the paper's: image quality ↑"
    assert head[7] == "ours: landmark accuracy at 0.05, % ↑; the paper's: landmark accuracy, % ↑"
    assert row[1].endswith("0.04 worse, 0.035 worse ✓") and row[2].endswith("worse ✗")
    assert row[6].startswith("30 worse, 61.436 worse ✓")  # BRISQUE: less is better
    assert row[7] == "30 worse, 33.58 worse ✓"


@pytest.mark.network
def test_report_opens_in_a_browser(results):
    dom = browse(results[0] / "report.html")
    assert "<svg" in dom and dom.count("<img") >= 2 and "the truth" in dom
