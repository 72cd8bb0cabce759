"""What the readers find in folders as they are distributed."""

import os
from pathlib import Path

import pytest

from emoji_jax.data.datasets import ReaderConfig, inputs
from emoji_jax.data.prepare import find_units
from emoji_jax.errors import UserError


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root: Path, dataset: str, **options: str) -> dict[str, object]:
    return {unit.name: unit for unit in find_units(root, dataset, ReaderConfig(**options))}


def test_folder(tmp_path):
    fill(tmp_path, "b.mp4", "Ирина/a b.gif", "Ирина/take/0.png", "Ирина/take/1.png", ".hidden.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    units = found(tmp_path, "folder")
    assert {name: unit.identity for name, unit in units.items()} == {
        "b.mp4": "b",
        "empty": "empty",
        "Ирина/a b.gif": "Ирина",
        "Ирина/take": "Ирина",
    }
    assert units["b.mp4"].licence == "not known"
    with pytest.raises(UserError, match="does not exist"):
        found(tmp_path / "missing", "folder")
    with pytest.raises(UserError, match="expected one of folder, hdtf, vfhq, recordings, fluent"):
        found(tmp_path, "celeb")
    with pytest.raises(UserError, match="nothing"):
        found(tmp_path, "fluent")
    with pytest.raises(UserError, match="needs --videos"):
        find_units(None, "folder", ReaderConfig())
    assert found(tmp_path, "folder", licence="mine")["b.mp4"].licence == "mine"


def test_many_small_files(tmp_path):
    for i in range(5000):
        (tmp_path / f"{i}.mp4").touch()
    assert len(found(tmp_path, "folder")) == 5000


def test_hdtf(tmp_path):
    lists = tmp_path / "HDTF_dataset"
    fill(tmp_path, "videos/Radio1.mp4", "videos/WDA_X_1.mp4", "videos/more.mp4", "HDTF_dataset/x")
    (lists / "x").unlink()
    (lists / "RD_annotion_time.txt").write_text(
        "Radio1.mp4 00:30-01:00 1:00:01.5-1:00:03 oops\nGone.mp4 00:01-00:02\n"
    )
    (lists / "RD_crop_wh.txt").write_text("Radio1_0.mp4 360 540 72 576\n")
    (lists / "RD_resolution.txt").write_text("Radio1.mp4 720\n")
    (lists / "RD_video_url.txt").write_text("Radio1 https://example.com/1\n")
    (lists / "WDA_annotion_time.txt").write_text("WDA_X.mp4 00:01-00:02 00:03-00:04\n")
    units = found(tmp_path, "hdtf")
    first = units["RD/Radio1_0"]
    assert first.span == (30, 60) and first.box == (0.5, 0.1, 0.75, 0.8)
    assert first.identity == "HDTF Radio1" and first.source == "HDTF RD https://example.com/1"
    assert units["RD/Radio1_1"].span == (3601.5, 3603) and units["RD/Radio1_1"].box is None
    assert "oops" in units["RD/Radio1_2"].refused
    assert units["RD/Gone_0"].refused == units["WDA/WDA_X_0"].refused == "video is missing"
    divided = units["WDA/WDA_X_1"]
    assert divided.path.endswith("WDA_X_1.mp4") and divided.span is None and not divided.refused
    assert units["videos/more.mp4"].refused == "not annotated"
    assert len({unit.identity for unit in units.values() if "Radio1" in unit.name}) == 1
    with pytest.raises(UserError, match="annotion_time"):
        found(tmp_path / "videos", "hdtf")


def test_vfhq(tmp_path):
    names = ("Clip+a-_+P0+C0+F10-20", "Clip+a-_+P1+C3+F30-40", "other")
    fill(tmp_path, *(f"test/{name}/{i:08d}.png" for name in names for i in range(2)))
    (tmp_path / "meta_info").mkdir()
    (tmp_path / "meta_info" / f"{names[0]}.txt").write_text("H 1080\nW: 1920\nFPS: 29.97\nCROP: 1")
    units = found(tmp_path, "vfhq")
    first, second, other = (units[f"test/{name}"] for name in names)
    assert first.identity == second.identity == "VFHQ a-_"
    assert (first.frame_rate, second.frame_rate) == (29.97, 25)
    assert "Clip+" in other.refused and len(units) == 3


def test_recordings(tmp_path):
    fill(tmp_path, "s01_open_mouth.mp4", "day 2/s02_wink.mov", "notes.mp4")
    fill(tmp_path, "s03_smile/1.png", "s03_smile/2.png")
    units = found(tmp_path, "recordings")
    assert {(u.identity, u.expression) for u in units.values() if not u.refused} == {
        ("s01", "open_mouth"),
        ("s02", "wink"),
        ("s03", "smile"),
    }
    assert "{subject}_{expression}" in units["notes.mp4"].refused

    other = fill(tmp_path / "other", "s01/wink-2.mp4")
    (unit,) = found(other, "recordings", pattern="{subject}/{expression}-{take}").values()
    assert (unit.identity, unit.expression) == ("s01", "wink")
    with pytest.raises(UserError, match="subject"):
        found(tmp_path, "recordings", pattern="{name}")


def test_fluent(tmp_path):
    assets = "anim/package/assets"
    names = (
        "1f468-1f3fb-200d-1f9b0",
        "1f468-1f3ff-200d-1f9b0",
        "1f649",
        "1f637",
        "1f642",
        "1f643",
        "1f987",
        "1f9d1-1f3fd-200d-1f9bd",
        "x",
    )
    fill(tmp_path, *(f"{assets}/{name}.webp" for name in names), f"{assets}/.gitkeep")
    (tmp_path / "anim/package/package.json").write_text('{"name": "@lobehub/fluent-emoji-anim-3"}')
    units = {Path(name).stem: unit for name, unit in found(tmp_path, "fluent").items()}
    assert units[names[0]].identity == units[names[1]].identity != units["1f642"].identity
    assert units["1f642"].licence == "MIT" and units["1f642"].source.endswith("anim-3")
    refused = {name: unit.refused for name, unit in units.items() if unit.refused}
    assert refused == {
        "1f649": "monkey",
        "1f637": "covered",
        "1f643": "upside down",
        "1f987": "landmarks astray",
        "1f9d1-1f3fd-200d-1f9bd": "no face",
        "x": "name is not made of code points",
    }


def test_a_folder_that_cannot_be_listed_is_an_input(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.mp4").touch()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path) == str(tmp_path / "closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    names = [path.relative_to(tmp_path).as_posix() for path in inputs(tmp_path)]
    assert sorted(names) == ["closed", "open/a.mp4"]
