"""Benchmarks on disk: made, read, refused; and the baselines."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from emoji_jax.bench import build, face, folder, methods, mini
from emoji_jax.bench.build import BenchConfig
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.landmarks import solve
from emoji_jax.video_writer import write_video

CONFIG = BenchConfig("small", size=64, frames=3, drivers_each=2)


def picture(index, size=160):
    frames, _ = synthetic.clip(3, index * synthetic.CLIPS_PER_IDENTITY, 1, size)
    return frames[0]


def clip(index, frames=5, size=160):
    return synthetic.clip(3, index * synthetic.CLIPS_PER_IDENTITY, frames, size)[0]


@pytest.fixture
def material(tmp_path, landmark_model):
    """Two portraits of two styles, a landscape, a driver, and one that is too short."""
    portraits, drivers = tmp_path / "portraits", tmp_path / "drivers"
    for style, index in (("photo", 1), ("cartoon", 2)):
        (portraits / style).mkdir(parents=True)
        Image.fromarray(picture(index)).save(portraits / style / f"{style}.png")
    Image.new("RGB", (90, 70), "green").save(portraits / "landscape.png")
    drivers.mkdir()
    write_video(drivers / "talk.mp4", clip(3), 25.0)
    write_video(drivers / "short.mp4", clip(4, 2), 25.0)
    return portraits, drivers


def test_of_a_users_files(material, tmp_path):
    left_out = {}
    bench = build.build(*material, tmp_path / "bench", CONFIG, left_out.__setitem__)
    assert left_out.keys() == {"landscape.png", "short.mp4"}
    assert "no face" in left_out["landscape.png"] and "2 frames" in left_out["short.mp4"]
    assert bench.styles == {"photo": "photo", "cartoon": "cartoon"}
    assert [(p.name, p.kind) for p in bench.pairs] == [
        ("self_talk", "self"),
        ("cross_cartoon_talk", "cross"),
        ("cross_photo_talk", "cross"),
    ]
    assert bench.clip("talk").shape == (4, 64, 64, 3)
    assert bench.portrait(bench.pairs[1]).shape == (64, 64, 3)
    np.testing.assert_array_equal(bench.portrait(bench.pairs[0]), bench.clip("talk")[0])
    again = build.build(*material, tmp_path / "again", CONFIG, left_out.__setitem__)
    assert again.checksum == bench.checksum
    with pytest.raises(UserError, match="exists"):
        build.build(*material, tmp_path / "bench", CONFIG, left_out.__setitem__)


def test_what_builds_no_benchmark(material, tmp_path):
    portraits, drivers = material
    (tmp_path / "empty").mkdir()
    for folders, message in (
        ((portraits, tmp_path / "empty"), "no files"),
        ((tmp_path / "nowhere", drivers), "can't be read as a folder"),
    ):
        with pytest.raises(UserError, match=message):
            build.build(*folders, tmp_path / "bench", CONFIG, lambda *_: None)
    landscapes = tmp_path / "landscapes"
    landscapes.mkdir()
    shutil.copy(portraits / "landscape.png", landscapes)
    with pytest.raises(UserError, match="no portrait is left"):
        build.build(landscapes, drivers, tmp_path / "bench", CONFIG, lambda *_: None)
    shutil.copy(portraits / "landscape.png", portraits / "photo" / "landscape.png")
    with pytest.raises(UserError, match="one name"):
        build.build(portraits, drivers, tmp_path / "bench", CONFIG, lambda *_: None)
    (drivers / "talk.mp4").unlink()
    (portraits / "landscape.png").unlink()
    with pytest.raises(UserError, match="no driver is left"):
        build.build(portraits, drivers, tmp_path / "bench", CONFIG, lambda *_: None)
    assert not (tmp_path / "bench").exists() and not list(tmp_path.glob(".*"))


def test_faces_are_seen_in_what_is_stored(material, tmp_path, monkeypatch):
    monkeypatch.setattr(face, "find", lambda detector, frame: None)
    left_out = {}
    with pytest.raises(UserError, match="no driver is left"):
        config = dataclasses.replace(CONFIG, drivers_each=0)
        build.build(*material, tmp_path / "bench", config, left_out.__setitem__)
    assert left_out["photo.png"] == "no face is found in it at 64 pixels"
    assert left_out["talk.mp4"] == "no face is found in 4 of 4 frames at 64 pixels"


def test_portraits_take_turns():
    pairs = build.pair_up(["a", "b", "c"], ["x", "y"], 1)
    assert [p.name for p in pairs[2:]] == ["cross_a_x", "cross_b_y", "cross_c_x"]
    assert len({p.name for p in build.pair_up(["a", "b"], ["x", "y"], 5)}) == 2 + 4


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return mini.make(tmp_path_factory.mktemp("bench") / "mini")


def test_mini_is_always_the_same(small, tmp_path):
    assert mini.make(tmp_path / "again").checksum == small.checksum
    assert small.checksum == mini.CHECKSUM, "this platform paints another benchmark"
    kinds = [pair.kind for pair in small.pairs]
    assert (kinds.count("self"), kinds.count("cross")) == (10, 24)
    assert {"emoji", "avatar", *synthetic.STYLES} == set(small.styles.values())


def test_a_changed_benchmark_is_refused(small, tmp_path):
    def changed(name):
        copy = tmp_path / name
        shutil.copytree(small.folder, copy)
        return copy

    painted = changed("painted")
    file = painted / "portraits" / "avatar_0.png"
    pixels = np.asarray(Image.open(file).convert("RGB")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    with pytest.raises(UserError, match="not as it was made"):
        folder.read(painted)
    missing = changed("missing")
    (missing / "drivers" / "emoji_00.png").unlink()
    with pytest.raises(UserError, match="emoji_00"):
        folder.read(missing)
    for name, text in (("cut", "{"), ("other", "{}"), ("newer", '{"format": 9}')):
        (changed(name) / "bench.json").write_text(text)
        with pytest.raises(UserError, match=r"bench\.json"):
            folder.read(tmp_path / name)
    for i, (name, value) in enumerate((("styles", None), ("pairs", [1]), ("checksum", None))):
        copy = changed(f"damaged{i}")
        told = json.loads((copy / "bench.json").read_text()) | {name: value}
        (copy / "bench.json").write_text(json.dumps(told))
        with pytest.raises(UserError, match=r"is damaged|not as it was made"):
            folder.read(copy)
    twice = changed("twice")
    told = json.loads((twice / "bench.json").read_text())
    told["pairs"].append(told["pairs"][0])
    (twice / "bench.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="two of one name"):
        folder.read(twice)
    with pytest.raises(UserError, match="no benchmark"):
        folder.read(tmp_path)


def task(moved=(0.0, 0.0)):
    """A person who follows himself, moved by some pixels."""
    size = 96
    person, still = synthetic.portrait(3, 0), synthetic.random_movement(3, 0, 1)
    (portrait,) = synthetic.render(person, still, (size, size))
    face = synthetic.landmarks(still, (size, size), person)
    points = face.points[[0, 0]].copy()
    points[1, :, :2] += np.float32(moved) / size
    pose, vertices = solve(points, (size, size))
    driver = dataclasses.replace(
        face[[0, 0]], points=points, pose=pose, vertices=vertices, times=np.arange(2.0)
    )
    face = driver[:1]
    return methods.Task(folder.Pair("self_a", "a"), portrait, face, driver, portrait[None])


def test_baselines():
    still = task()
    np.testing.assert_array_equal(methods.repeat(still), still.portrait[None])
    unmoved = methods.warp(still).astype(int) - still.portrait
    assert np.abs(unmoved).mean() < 1
    # By the landmarks' own numbers: they are where the warp has put the pixels.
    moved = dataclasses.replace(still, driver=task((6.0, 3.0)).driver)
    shift = moved.wanted[0] - still.face.pixels[0]
    np.testing.assert_allclose(shift.mean(0), [6, 3], atol=0.5)
    x, y = np.round(still.face.pixels[0].mean(0)).astype(int)
    dx, dy = np.round(shift.mean(0)).astype(int)
    found = methods.warp(moved)[0].astype(int)
    patch, there = (p[y - 8 : y + 8, x - 8 : x + 8] for p in (still.portrait.astype(int), found))
    here = found[y + dy - 8 : y + dy + 8, x + dx - 8 : x + dx + 8]
    assert np.abs(here - patch).mean() < 0.5 * np.abs(there - patch).mean()
