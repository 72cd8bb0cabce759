"""`python -m emoji_jax.evaluate`, reports and the study's page."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax import assets
from emoji_jax.bench import ablation, report, study
from emoji_jax.bench.build import BenchConfig, write
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError

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
    assert "ST-LPIPS" in text and "FVD of 2 pieces" in text and "| AniPortrait |" in text


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
    assert done.returncode == 2 and "another benchmark, checkpoint or setting" in done.stderr


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


def rows(numbers):
    return {f"self_{i}": {"l1": x, "curve": None} for i, x in enumerate(numbers)}


def test_means_know_their_bounds():
    value = report.value(list(rows([1.0, 2.0, 3.0, None]).values()), "l1")
    assert value and (value.mean, value.count) == (2, 3) and 1 <= value.low < 2 < value.high <= 3
    assert report.value(list(rows([None]).values()), "l1") is None
    rng = np.random.default_rng(0)
    videos = [{"features": rng.normal(size=(2, 8)), "truth": rng.normal(size=(2, 8))}] * 3
    found = report.value(videos, "fvd")
    assert found and found.count == 6 and found.low == pytest.approx(found.mean)
    videos = [{k: rng.normal(size=(4, 30)) for k in ("features", "truth")} for _ in range(45)]
    found = report.value(videos, "fvd")
    assert found and found.low < found.mean < found.high


def test_ablations_are_compared_by_sign():
    ours = dict(zip(ablation.COLUMNS, (0.03, 0.8, 0.1, 90.0, 0.7, 20.0, 0.4), strict=True))
    worse = ours | {"L1": 0.04, "SSIM": 0.9, "quality": 30.0}
    head, full, row = ablation.table({ablation.FULL: ours, "no_pupils": worse})
    assert full[1] == "0.03 , 0.029 " and head[0] == "row"
    assert row[1].endswith("0.04 worse, 0.035 worse ✓") and row[2].endswith("worse ✗")
    assert row[6].startswith("30 worse, 61.436 worse ✓")  # BRISQUE: less is better


@pytest.fixture
def page(tmp_path):
    """A study of three methods on two pairs."""
    from emoji_jax.bench.folder import Pair

    frames = np.random.default_rng(0).integers(0, 255, (3, 3, 16, 16, 3)).astype(np.uint8)
    results = dict(zip(("ours", "</script>", "ä"), frames, strict=True))
    cases = [(Pair(f"cross_{i}", "d", "p"), frames[0][0], frames[0], results) for i in range(2)]
    path = tmp_path / "study.html"
    path.write_text(study.page("<Study>", cases, 0, "abc"))
    return path


def test_study_needs_two_methods():
    with pytest.raises(UserError, match="compares methods"):
        study.page("Study", [], 0, "abc")


def browse(path: Path) -> str:
    """What a browser has made of a page in the end."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium to open the page with")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--virtual-time-budget=5000", f"--user-data-dir={path.parent / 'profile'}"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def test_somebody_answers(page, tmp_path):
    # A visitor who gives the ranks 3, 1, 2 from the left, after one mistake.
    visitor = """<script>
    document.getElementById("begin").click();
    const seen = [];
    while (!document.getElementById("ask").hidden) {
      const selects = [...document.querySelectorAll("#results select")];
      document.getElementById("next").click();  // without an answer
      seen.push(document.getElementById("wrong").textContent);
      selects.forEach((s, i) => { s.value = [3, 1, 2][i]; });
      document.getElementById("next").click();
    }
    fetch(document.getElementById("save").href).then(r => r.text()).then(text => {
      const out = document.createElement("pre");
      out.id = "answers"; out.textContent = btoa(unescape(encodeURIComponent(text)));
      document.body.append(out, new Set(seen).size + " complaint");
    });
    </script>"""
    page.write_text(page.read_text().replace("</html>", visitor + "</html>"))
    dom = browse(page)
    assert "<h1>&lt;Study&gt;</h1>" in dom and "1 complaint" in dom
    import base64

    text = base64.b64decode(dom.split('id="answers">')[1].split("<")[0])
    answers = json.loads(text)
    assert len(answers["answers"]) == 2 * len(study.QUESTIONS)
    for answer in answers["answers"]:
        assert [answer["ranks"][method] for method in answer["order"]] == [3, 1, 2]
    (tmp_path / "a.json").write_bytes(text)
    (tmp_path / "b.json").write_text(json.dumps(answers | {"visit": answers["visit"] + 1}))
    found = study.aggregate([tmp_path / "a.json", tmp_path / "b.json"])
    assert found["people"] == 2 and set(found["ranks"]) == {"ours", "</script>", "ä"}
    ranks = [by["overall"]["rank"] for by in found["ranks"].values()]
    assert np.mean(ranks) == pytest.approx(2)


@pytest.mark.network
def test_report_opens_in_a_browser(results):
    dom = browse(results[0] / "report.html")
    assert "<svg" in dom and dom.count("<img") >= 2 and "the truth" in dom


def answers(**changes):
    told = {"format": "emoji_jax study 1", "bench": "b", "methods": ["x", "y"], "visit": 1}
    return told | {"answers": [{"question": "overall", "ranks": {"x": 1, "y": 2}}]} | changes


def test_ranks(tmp_path, monkeypatch):
    other, same = answers(bench="c", visit=3), answers()
    files = {"a": answers(), "b": answers(visit=2), "other": other, "same": same}
    for name, told in files.items():
        (tmp_path / name).write_text(json.dumps(told))
    found = study.aggregate([tmp_path / "a", tmp_path / "b"])
    assert found["ranks"]["x"]["overall"] == {"rank": 1, "low": 1, "high": 1, "answers": 2}
    assert study.table(found)[1] == ["x", "-", "-", "1.00 (1.00 to 1.00)"]
    with pytest.raises(UserError, match="2 studies"):
        study.aggregate([tmp_path / "a", tmp_path / "other"])
    with pytest.raises(UserError, match="the same visit"):
        study.aggregate([tmp_path / "a", tmp_path / "same"])
    # Two people of many answers each who disagree: the interval is people's, not answers'.
    for name, (x, y) in (("c", (1, 2)), ("d", (2, 1))):
        many = [{"question": "overall", "ranks": {"x": x, "y": y}}] * 50
        (tmp_path / name).write_text(json.dumps(answers(visit=x, answers=many)))
    found = study.aggregate([tmp_path / "c", tmp_path / "d"])["ranks"]["x"]["overall"]
    assert found == {"rank": 1.5, "low": 1, "high": 2, "answers": 100}
    bad = answers(answers=[{"question": "overall", "ranks": {"x": 1, "y": 1}}])
    less = {k: v for k, v in answers().items() if k != "bench"}
    others = (bad, answers(format="x"), answers(methods=None), less)
    for text in ("{", "[]", *map(json.dumps, others)):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(UserError, match="no answers of a study"):
            study.aggregate([tmp_path / "bad"])
    with pytest.raises(UserError, match="can't be read"):
        study.aggregate([tmp_path / "nowhere"])
