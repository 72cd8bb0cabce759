"""An evaluation from the inside, with a measurement that only counts."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from emoji_jax.bench import evaluation, folder, methods
from emoji_jax.bench.folder import Pair
from emoji_jax.bench.measure import Measurement, OwnWeights
from emoji_jax.errors import UserError
from emoji_jax.sampling import SamplerConfig
from tests.bench.test_bench import task


@pytest.fixture
def bench(tmp_path):
    """One driver and one portrait, of one frame more than is measured."""
    made = tmp_path / "bench"
    for name in (folder.PORTRAITS, folder.DRIVERS):
        (made / name).mkdir(parents=True)
    Image.fromarray(task().portrait).save(made / folder.PORTRAITS / "p.png")
    folder.save_strip(made / folder.DRIVERS / "a.png", np.stack([task().portrait] * 2))
    pairs = [Pair("self_a", "a"), Pair("cross_p_a", "a", "p")]
    return folder.write(made, "b", frames=1, size=96, styles={"p": "flat"}, pairs=pairs)


@pytest.fixture(autouse=True)
def blind(monkeypatch):
    """Measures nothing, and sees no face in portraits but those of drivers."""

    class Blind(Measurement):
        def __init__(self, *_):
            pass

        def task(self, pair):
            if pair.portrait:
                raise UserError(f"no face is found in the portrait of {pair.name}")
            return dataclasses.replace(task(), pair=pair)

        def measure(self, task, frames):
            return {"l1": float(np.abs(frames.astype(int) - task.truth).mean())}

        def close(self):
            pass

    monkeypatch.setattr(evaluation, "Measurement", Blind)
    monkeypatch.setitem(methods.BASELINES, "warp", methods.repeat)  # which takes no time


def begin(bench, out, checkpoint="", **more):
    arguments = {
        "loading": {},
        "sampler": SamplerConfig(steps=2),
        "seed": 0,
        "baselines": True,
        "preds": {},
        "own": OwnWeights(),
    }
    return evaluation.Evaluation(bench, out, checkpoint=checkpoint, **(arguments | more))


def test_a_portrait_without_a_face_is_its_pairs_error(bench, tmp_path):
    run = begin(bench, tmp_path / "out")
    assert len(list(run.work(run.jobs()))) == 4 and not run.missing()
    assert run.report() == 2
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["pairs"]["warp"]["self_a"]["l1"] < 1
    assert "no face" in told["pairs"]["warp"]["cross_p_a"]["error"]
    assert told["versions"]["emoji_jax"] and told["versions"]["jax"]
    # One pair has no interval.
    value = told["means"]["warp"]["self"]["l1"]
    assert value["count"] == 1 and value["low"] is None
    text = (tmp_path / "out" / "report.md").read_text()
    assert "warp, cross_p_a: no face" in text and "6.46" in text


def test_a_checkpoint_of_no_numbers(bench, tmp_path):
    from emoji_jax import checkpoint
    from emoji_jax.models.emoji import initialise
    from emoji_jax.training import export
    from tests.training.small import NETWORKS

    bad = jax.tree.map(lambda x: x * np.nan, checkpoint.flatten(initialise(NETWORKS, seed=0)))
    export.write(tmp_path / "bad", NETWORKS, bad)
    run = begin(bench, tmp_path / "out", str(tmp_path / "bad"), baselines=False)
    list(run.work(run.jobs()))
    assert run.report() == 2
    assert "NaN" in (tmp_path / "out" / "report.md").read_text()


def test_studies_are_refused_early(bench, tmp_path):
    with pytest.raises(UserError, match="there is only a"):
        begin(bench, tmp_path / "out", baselines=False, preds={"a": tmp_path}, study=True)
    run = begin(bench, tmp_path / "out", study=True)
    list(run.work(run.jobs()))
    with pytest.raises(UserError, match="no cross-reenactment that every method has made"):
        run.report()
    assert (tmp_path / "out" / "report.md").exists()


def test_settings_are_noted_when_weights_are_read(bench, tmp_path, monkeypatch):
    class Refusing:
        def __init__(self, *_):
            raise UserError("another file")

    out = tmp_path / "out"
    run = begin(bench, out)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "Measurement", Refusing)
        with pytest.raises(UserError, match="another file"):
            list(run.work(run.jobs()))
    assert not (out / "settings.json").exists()
    list(run.work(run.jobs()))
    begin(bench, out)
    with pytest.raises(UserError, match=r"setting or version \(what differs: seed\)"):
        begin(bench, out, seed=1)
    monkeypatch.setattr(evaluation.emoji_jax, "__version__", "0.0")
    with pytest.raises(UserError, match="what differs: versions"):
        begin(bench, out)


def test_damaged_files(bench, tmp_path):
    out = tmp_path / "out"
    run = begin(bench, out)
    list(run.work(run.jobs()))
    for file in (out / "measured" / "warp" / "self_a.json", out / "settings.json"):
        for text in ("{", "[]"):
            file.write_text(text)
            with pytest.raises(UserError, match=rf"{file.name} is damaged.*remove it"):
                begin(bench, out).jobs()
        file.unlink()


def test_names_of_methods_stay_inside_and_apart(bench, tmp_path):
    names = ["中文", "日本", "..", "a b", "a_b", ".a", "a/../../b"]
    slugs = [evaluation._slug(name) for name in names]
    assert len(set(slugs)) == len(names) and slugs[4] == "a_b"
    for slug in slugs:
        assert (tmp_path / slug).resolve().parent == tmp_path.resolve() and slug[0] != "."
    run = begin(bench, tmp_path, preds={name: tmp_path for name in names})
    assert len(run.methods) == 9


def test_networks_by_column(bench, tmp_path):
    weights = {}
    for folder_name, field in (("x", "arcface"), ("y", "alexnet"), ("z", "hyperiqa")):
        (tmp_path / folder_name).mkdir()
        weights[field] = tmp_path / folder_name / "weights"
        weights[field].write_text(field)
    run = begin(bench, tmp_path / "out", own=OwnWeights(**weights))
    names = {f"{column}: weights" for column in ("identity", "lpips", "quality")}
    assert names < set(run._networks) and "lpips: lpips_alex.pth" in run._networks
    assert len(run._networks) == 6 == len(set(run._networks.values()))


def test_results_are_known_by_their_names_too(bench, tmp_path):
    place = tmp_path / "a" / "self_a"
    place.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(place / "1.png")
    run = begin(bench, tmp_path / "out", preds={"a": tmp_path / "a"})
    before = run._print("a", bench.pairs[0])
    (place / "1.png").rename(place / "2.png")
    assert before != run._print("a", bench.pairs[0]) != ""
    assert run._print("a", bench.pairs[1]) == ""
