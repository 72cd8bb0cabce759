"""Drawn avatars: who they are, that they stay the same person, and what is made of them."""

import json
import pickle
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from emoji_jax.data import clips, prepare
from emoji_jax.data.datasets import ReaderConfig, avatars
from emoji_jax.errors import UserError
from tests.data import media

for package in ("dicebear", "dicebear_styles", "resvg_py"):
    pytest.importorskip(package)

STYLES = list(avatars.STYLES)
ROOT = Path(__file__).parent.parent.parent


def test_units():
    units = prepare.find_units(None, "avatars", ReaderConfig(people=2, poses=3, size=64))
    assert len(units) == len({unit.identity for unit in units}) == 2 * len(STYLES)
    for unit in units:
        assert unit.separate and ("CC0" in unit.licence or "CC BY 4.0" in unit.licence)
        creator = unit.source.split(" by ")[1].removesuffix(", drawn")
        assert creator in unit.licence and "resvg-py" in unit.source
    some = ReaderConfig(styles="micah, personas", people=1)
    assert [u.name for u in prepare.find_units(None, "avatars", some)] == [
        "micah/00000",
        "personas/00000",
    ]


@pytest.mark.parametrize(
    ("config", "told"),
    [(ReaderConfig(styles="avataaars"), "avataaars; expected some"), (ReaderConfig(poses=0), "1")],
)
def test_mistakes(config, told, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=told):
        prepare.find_units(None, "avatars", config)
    with pytest.raises(UserError, match="expected none"):
        prepare.find_units(tmp_path, "avatars", ReaderConfig())

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UserError, match=r"install emoji_jax\[prepare\]"):
        prepare.find_units(None, "avatars", ReaderConfig())


def test_parts_differ_between_people_and_styles(tmp_path):
    units = prepare.find_units(None, "avatars", ReaderConfig(people=2))
    paths = {prepare.part_path(tmp_path, unit, prepare.PrepareConfig()) for unit in units}
    assert len(paths) == len(units)
    fewer = prepare.find_units(None, "avatars", ReaderConfig(people=1))
    assert {prepare.part_path(tmp_path, u, prepare.PrepareConfig()) for u in fewer} < paths


@pytest.mark.parametrize("style", STYLES)
def test_every_variant_is_drawn(style):
    parts = avatars._load(style).components()
    for name, variants in avatars.STYLES[style].expression.items():
        assert set(variants.split()) <= set(parts[name].variants())
        assert len(set(variants.split())) == len(variants.split())
    for option in avatars.STYLES[style].person:
        if option.endswith("Probability"):
            assert option.removesuffix("Probability") in parts


@pytest.mark.parametrize("style", STYLES)
def test_one_person_with_many_expressions(style, monkeypatch):
    monkeypatch.setattr(avatars, "_sway", lambda person: [{"scale": 1.0}] * person.poses)
    avatars._draw.cache_clear()
    person = avatars.Person(style, 3, 6, 96)
    pictures = np.stack([picture for picture, _ in person.frames()]).astype(int)
    avatars._draw.cache_clear()
    again = pickle.loads(pickle.dumps(person)).frames()
    np.testing.assert_array_equal(pictures, [picture for picture, _ in again])
    changed = (np.abs(pictures - pictures[0]).max(axis=-1) > 8).mean(axis=(1, 2))
    assert (changed < 0.12).all() and (changed > 0).sum() >= 4
    (other, _), *_ = avatars.Person(style, 4, 1, 96).frames()
    assert (np.abs(other - pictures[0]).max(axis=-1) > 8).mean() > 0.2
    avatars._draw.cache_clear()


def test_expressions_take_turns():
    person = avatars.Person("toon-head", 0, 20, 64)
    drawn = avatars.expressions(person)
    for name, variants in avatars.STYLES["toon-head"].expression.items():
        times = Counter(parts[name] for parts in drawn)
        assert set(times) == set(variants.split())
        assert max(times.values()) - min(times.values()) <= 1
    assert len({tuple(parts.items()) for parts in drawn}) > 15
    assert drawn != avatars.expressions(avatars.Person("toon-head", 1, 20, 64))


def test_prepared(tmp_path):
    """Every frame is kept, and the landmarks' mouth is open where the drawn one is."""
    tfds = pytest.importorskip("tensorflow_datasets")
    media.need_model()
    reader = {"styles": "toon-head", "people": 1, "poses": 15, "size": 256}
    options = [f"--config.reader.{name}={value}" for name, value in reader.items()]
    options += ["--config.crop.size=64", "--config.track.min_frames=5"]
    program = [sys.executable, "-m", "emoji_jax.prepare", "--dataset=avatars", "--workers=0"]
    done = subprocess.run(
        [*program, f"--out={tmp_path}", *options],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, (tmp_path / "report.jsonl").read_text().splitlines())
    assert (line["identity"], line["frames"], line["clips"]) == ("toon-head 00000", 15, 1)

    record = tfds.builder_from_directory(str(tmp_path)).as_data_source("train")[0]
    points = clips.decode(record).landmarks.points
    gap = (points[:, 14, 1] - points[:, 13, 1]) / np.ptp(points[..., 1], axis=1)
    drawn = avatars.expressions(avatars.Person("toon-head", 0, 15, 256))
    wide = np.array([parts["mouth"] in ("agape", "angry", "laugh") for parts in drawn])
    assert gap[wide].mean() > 3 * gap[~wide].mean()
