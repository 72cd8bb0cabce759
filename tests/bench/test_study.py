"""The page that asks people, and what becomes of their answers."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from emoji_jax.bench import study
from emoji_jax.bench.folder import Pair
from emoji_jax.errors import UserError


@pytest.fixture
def page(tmp_path):
    """A study of three methods on two pairs."""
    path = tmp_path / "study.html"
    path.write_text(study.page("<Study>", cases(0), 0, "abc"))
    return path


def cases(seed, names=("ours", "</script>", "ä")):
    """Two pairs with clips of random pixels."""
    shape = (len(names), 3, 16, 16, 3)
    frames = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    results = dict(zip(names, frames, strict=True))
    return [(Pair(f"cross_{i}", "d", "p"), frames[0][0], frames[0], results) for i in range(2)]


def test_what_is_no_study():
    with pytest.raises(UserError, match="no cross-reenactment that every method has made"):
        study.page("Study", [], 0, "abc")
    with pytest.raises(UserError, match="compares methods"):
        study.page("Study", cases(0, ["ours"]), 0, "abc")


def test_other_clips_are_another_study():
    def identity(seed, checksum="abc"):
        page = study.page("Study", cases(seed), 0, checksum)
        return json.loads(page.split("const study = ")[1].split(";\n")[0])["study"]

    assert identity(0) == identity(0)
    assert len({identity(0), identity(1), identity(0, "abd")}) == 3


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
    const save = document.getElementById("save");
    save.onclick = event => {
      event.preventDefault();  // a file can't be looked at from here
      fetch(save.href).then(r => r.text()).then(text => {
      const out = document.createElement("pre");
      out.id = "answers"; out.textContent = btoa(unescape(encodeURIComponent(text)));
      document.body.append(out, new Set(seen).size + " complaint, " + save.download);
    })};
    save.click();
    </script>"""
    page.write_text(page.read_text().replace("</html>", visitor + "</html>"))
    dom = browse(page)
    assert "<h1>&lt;Study&gt;</h1>" in dom and "1 complaint, answers-" in dom
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


def answers(**changes):
    told = {"format": "emoji_jax study 2", "study": "b", "methods": ["x", "y"], "visit": 1}
    return told | {"answers": [{"question": "overall", "ranks": {"x": 1, "y": 2}}]} | changes


def test_ranks(tmp_path):
    other, same = answers(study="c", visit=3), answers()
    files = {"a": answers(), "b": answers(visit=2), "other": other, "same": same}
    for name, told in files.items():
        (tmp_path / name).write_text(json.dumps(told))
    found = study.aggregate([tmp_path / "a", tmp_path / "b"])
    assert found["ranks"]["x"]["overall"] == {"rank": 1, "low": 1, "high": 1, "answers": 2}
    assert study.table(found)[1] == ["x", "-", "-", "1.00 (1.00 to 1.00)"]
    # One person says nothing about others.
    found = study.aggregate([tmp_path / "a"])
    assert found["ranks"]["x"]["overall"]["low"] is None
    assert study.table(found)[1] == ["x", "-", "-", "1.00"]
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


def test_no_answers(tmp_path):
    bad = answers(answers=[{"question": "overall", "ranks": {"x": 1, "y": 1}}])
    less = {k: v for k, v in answers().items() if k != "study"}
    others = (bad, answers(format="x"), answers(methods=None), less)
    for text in ("{", "[]", *map(json.dumps, others)):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(UserError, match="no answers of a study"):
            study.aggregate([tmp_path / "bad"])
    with pytest.raises(UserError, match="can't be read"):
        study.aggregate([tmp_path / "nowhere"])


def test_answers_through_the_command(tmp_path):
    from tests.bench.test_evaluate import evaluate

    for visit in (1, 2):
        (tmp_path / f"{visit}.json").write_text(json.dumps(answers(visit=visit)))
    files = (f"--study-results={tmp_path / '1.json'}", "--study_results", tmp_path / "2.json")
    done = evaluate(*files, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "study.json").read_text())["people"] == 2
    assert "1.00 (1.00 to 1.00)" in done.stdout
    assert "| Follow-Your-Emoji | 1.26 | 1.45 | 1.72 |" in done.stdout
