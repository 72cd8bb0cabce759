"""`python -m emoji_jax.batch`: many pairs, bad ones among them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax import config as config_file
from emoji_jax import pairs
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.making import Batch
from emoji_jax.sampling import SamplerConfig
from emoji_jax.video import read_video
from tests.conftest import PORTRAIT
from tests.training.small import NETWORKS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights, landmark_model) -> Path:
    """A checkpoint of random weights, and two portraits."""
    root = tmp_path_factory.mktemp("batch")
    (root / "drivers").mkdir()
    for name in ("wink", "smile"):
        synthetic.motion("laugh", 2).save(root / "drivers" / f"{name}.npz")
    (root / "weights").symlink_to(weights)
    (root / "portraits").mkdir()
    with Image.open(PORTRAIT) as image:
        image.save(root / "portraits" / "a.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "portraits" / "b.png")
    return root


def batch(folder: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "emoji_jax.batch",
            f"--checkpoint={folder / 'weights'}",
            "--config.sampler.steps=1",
            *options,
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def results(path: Path) -> dict[str, dict]:
    return {r["out"]: r for r in map(json.loads, path.read_text().splitlines())}


def test_a_table_with_bad_rows(folder):
    """Good rows are made, each with its own options; bad ones are told; the end is exit code 2."""
    (folder / "table.csv").write_text(
        "ref,driving,out,seed,motion.frames,framing.paste,controls.mouth\n"
        "portraits/a.png,expression:laugh,one,,3,,\n"
        "portraits/a.png,expression:laugh,two,7,3,false,0.5\n"
        "missing.png,expression:laugh,three,,,,\n"
        "portraits/b.png,expression:laugh,four.mp4,,2,,\n"
        "portraits/b.png,expression:nothing,five,,,,\n"
        "portraits/b.png,expression:laugh,six,,many,,\n"
        "portraits/b.png,expression:laugh,seven.png,,2,,\n"
        "portraits/b.png,expression:laugh,eight,,2.5,,\n"
    )
    done = batch(folder, "--pairs=table.csv", "--out=made", "--config.sampler.batch=2")
    assert done.returncode == 2, done.stderr
    assert "error: 5 of 8 pairs failed; made/results.jsonl says why" in done.stderr
    assert "Traceback" not in done.stderr
    told = results(folder / "made" / "results.jsonl")
    assert {name for name, r in told.items() if "error" in r} == {
        "three",
        "five",
        "six",
        "seven.png",
        "eight",
    }
    assert "missing.png does not exist" in told["three"]["error"]
    assert "no built-in expression 'nothing'" in told["five"]["error"]
    assert "motion.frames is 'many'" in told["six"]["error"]
    assert "2 frames" in told["seven.png"]["error"]
    assert "motion.frames is 2.5" in told["eight"]["error"]
    one, _ = read_video(folder / "made" / "one")
    two, _ = read_video(folder / "made" / "two")
    assert one.shape == (3, 448, 320, 3) and two.shape == (3, 32, 32, 3)
    assert told["one"]["frames"] == 3 and told["two"]["options"]["seed"] == "7"
    assert {p.name for p in (folder / "made").iterdir()} == {
        "one", "two", "four.mp4", "results.jsonl",
    }  # fmt: skip


def test_folders_and_resuming(folder, tmp_path):
    """Every portrait with every driver; what is done is left alone, what is missing made."""
    options = ("--portraits=portraits", "--drivers=drivers", f"--out={tmp_path}", "--suffix=")
    done = batch(folder, *options)
    assert done.returncode == 0, done.stderr
    names = {f"{a}_{b}" for a in "ab" for b in ("wink", "smile")}
    assert set(results(tmp_path / "results.jsonl")) == names
    before = {name: (tmp_path / name / "000000.png").stat().st_mtime_ns for name in names}
    (tmp_path / "a_wink" / "000000.png").unlink()
    (tmp_path / "a_wink" / "000001.png").unlink()
    (tmp_path / "a_wink").rmdir()
    done = batch(folder, *options, "--resume")
    assert done.returncode == 0, done.stderr
    after = {name: (tmp_path / name / "000000.png").stat().st_mtime_ns for name in names}
    assert {name for name in names if after[name] != before[name]} == {"a_wink"}
    assert set(results(tmp_path / "results.jsonl")) == names
    # A line that was cut off by a kill does no harm; what was made otherwise is not taken for it.
    report = tmp_path / "results.jsonl"
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    lines[0]["options"] = {"controls.mouth": "2"}
    report.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"ref": "por')
    done = batch(folder, *options, "--resume")
    assert done.returncode == 2, done.stderr
    told = results(report)
    assert set(told) == names
    # Nothing is written over a folder: that is for a person to decide.
    assert "is a folder already" in told[lines[0]["out"]]["error"]
    assert sum("error" in result for result in told.values()) == 1


def test_a_bug_stops_no_other_pair(folder, tmp_path, monkeypatch):
    config = config_file.read("sample.py", beside=str(config_file.folder() / "sample.py"))
    made = Batch(Animator.load(folder / "weights"), tmp_path, config)
    told = []

    def prepare(pair):
        told.append(pair.out)
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(made, "_prepare", prepare)
    found = list(made.run([pairs.Pair("a", "b", "x"), pairs.Pair("a", "b", "y")]))
    assert told == ["x", "y"] and len(made.bugs) == 2
    assert [result["error"] for result in found] == ["a bug: ZeroDivisionError: oh"] * 2


def test_too_little_memory_is_no_bug(folder, tmp_path, monkeypatch):
    config = config_file.read("sample.py", beside=str(config_file.folder() / "sample.py"))
    made = Batch(Animator.load(folder / "weights"), tmp_path, config)

    def prepare(pair):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes.\nmore")

    monkeypatch.setattr(made, "_prepare", prepare)
    (found,) = made.run([pairs.Pair("a", "b", "x")])
    assert found["error"].startswith("too little memory: RESOURCE_EXHAUSTED") and not made.bugs


def test_portraits_in_one_batch_are_made_as_alone(folder, tmp_path):
    for batch_size in (1, 2):
        done = batch(
            folder,
            "--portraits=portraits",
            "--drivers=drivers",
            f"--out={tmp_path / str(batch_size)}",
            "--suffix=",
            f"--config.sampler.batch={batch_size}",
        )
        assert done.returncode == 0, done.stderr
    for name in ("a_wink", "b_wink"):
        alone, _ = read_video(tmp_path / "1" / name)
        together, _ = read_video(tmp_path / "2" / name)
        assert np.abs(alone.astype(int) - together).max() <= 1
    assert not np.array_equal(together, read_video(tmp_path / "2" / "a_wink")[0])


def test_parts_share_the_pairs(folder, tmp_path):
    made = []
    for part in range(2):
        done = batch(
            folder,
            "--portraits=portraits",
            "--drivers=drivers",
            f"--out={tmp_path}",
            "--suffix=",
            f"--part={part}",
            "--parts=2",
        )
        assert done.returncode == 0, done.stderr
        made += list(results(tmp_path / f"results.{part}.jsonl"))
    assert sorted(made) == ["a_smile", "a_wink", "b_smile", "b_wink"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "needs the columns ref and driving"),
        ("ref,other\na,b\n", "needs the columns ref and driving"),
        ("ref,driving\na.png,b.mp4,c\n", "more cells"),
        ("ref,driving,out\na.png,b.mp4,x\nc.png,d.mp4,x\n", "two results would be called x"),
        ("ref,driving,out\na.png,b.mp4,../x\n", "outside"),
        ("ref,driving,out\na.png,b.mp4,/tmp/x\n", "outside"),
    ],
)
def test_tables_that_are_wrong(tmp_path, table, said):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(UserError, match=said):
        pairs.read_table(tmp_path / "t.csv", ".mp4")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("controls.nose", "1"), "no option 'controls.nose'"),
        (("train.steps", "1"), "no option 'train.steps'"),
        (("dtype", "float16"), "no option 'dtype'"),
        (("controls.mouth", "wide"), "controls.mouth is 'wide'; expected a number"),
        (("framing.paste", "maybe"), "framing.paste"),
        (("controls.mouth", "99"), "expected -10 to 10"),
        (("motion.only", "nose"), "motion.only"),
    ],
)
def test_options_that_are_wrong(option, said):
    config = config_file.read("sample.py", beside=str(config_file.folder() / "sample.py"))
    with pytest.raises(UserError, match=said):
        pairs.configured(config, (option,))
    assert config.controls.mouth == 1


def test_options_of_a_pair(folder):
    config = config_file.read("sample.py", beside=str(config_file.folder() / "sample.py"))
    given = (("motion.end", "1.5"), ("motion.neutral", "3"), ("framing.face", "all"), ("seed", "4"))
    found = pairs.configured(config, given)
    assert found["moving"].end == 1.5 and found["moving"].neutral == 3
    assert found["framing"].face == "all" and found["seed"] == 4
    assert pairs.configured(config, ())["moving"].end is None
    assert isinstance(Animator.load(folder / "weights").config, type(NETWORKS))
    assert found["sampler"] == SamplerConfig()
