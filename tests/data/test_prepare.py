"""From folders of videos to a dataset: what is kept, what is not and why, and stopped runs."""

import errno
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax.data import cutting, prepare, shards
from emoji_jax.data.parts import CannotWriteError, Part, PartWriter
from emoji_jax.errors import UserError
from tests.data import media

ROOT = Path(__file__).parent.parent.parent
pytest.importorskip("tensorflow_datasets")
QUICK = ["--config.crop.size=64", "--config.track.min_frames=5", "--config.crop.smallest_face=30"]
ALL = [*QUICK, "--config.split.min_identities=1", "--config.split.validation=0.4"]


@pytest.fixture(scope="module", autouse=True)
def _model():
    media.need_model()


def command(videos: Path, out: Path, *more: str, workers: int = 0) -> list[str]:
    program = [sys.executable, "-m", "emoji_jax.prepare", "--videos", str(videos)]
    return [*program, "--out", str(out), f"--workers={workers}", *more]


def call(*arguments, limit: int = 0, **options) -> subprocess.CompletedProcess:
    program = command(*arguments, **options)
    if limit:  # no file may be larger, in KiB
        program = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "-", *program]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


def report(out: Path) -> dict[str, dict]:
    lines = (out / "report.jsonl").read_text().splitlines()
    return {line["input"]: line for line in map(json.loads, lines)}


def dataset(out: Path) -> dict[str, bytes]:
    """Everything but the parts."""
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name[0] != "."}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """One input of every kind, good and bad."""
    root = tmp_path_factory.mktemp("videos")
    frames = media.portraits(12)
    media.save(root / "Ирина" / "first take.mp4", frames)
    media.save(root / "Ирина" / "second.gif", frames[:6])
    media.save(root / "folder" / "take 1", frames[:6])
    times = np.cumsum([0.04, 0.1, 0.02] * 4)
    media.save(root / "uneven.mp4", frames, times=times)
    media.save(root / "short.mp4", frames[:3])
    media.save(root / "nobody.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 6)
    media.save(root / "two.mp4", [np.concatenate([f, f[:, ::-1]], axis=1) for f in frames[:6]])
    media.save(root / "cut.mp4", [*frames[:6], *(255 - f for f in frames[:6]), *frames[6:]])
    whole = (root / "uneven.mp4").read_bytes()
    (root / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
    (root / "empty.mp4").touch()
    (root / "no pictures").mkdir()
    return root


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    done = call(videos, out, *ALL)
    assert done.returncode == 0, done.stderr
    return out


def test_every_input_is_accounted_for(videos, prepared):
    found = report(prepared)
    assert {name: line["reason"] for name, line in found.items()} == {
        "Ирина/first take.mp4": "",
        "Ирина/second.gif": "",
        "folder/take 1": "",
        "uneven.mp4": "",
        "two.mp4": "",
        "cut.mp4": "",
        "short.mp4": "too short",
        "nobody.mp4": "no face",
        "truncated.mp4": "unreadable",
        "noise.mp4": "unreadable",
        "empty.mp4": "unreadable",
        "no pictures": "unreadable",
    }
    assert found["empty.mp4"]["detail"].endswith("or a picture")
    assert found["cut.mp4"]["clips"] >= 2
    for line in found.values():
        if "read" in line:
            assert line["read"] == line["frames"] + sum(line["dropped"].values())
        assert (line["split"] in ("train", "validation", "test")) == (line["clips"] > 0)


def test_distributed_layouts(tmp_path):
    frames = media.portraits(30)
    both = [np.concatenate([frame, frame], axis=1) for frame in frames]
    media.save(tmp_path / "hdtf" / "Radio1.mp4", both)
    lists = {"annotion_time": "Radio1.mp4 0:0.2-0:0.6 00:09-00:10", "resolution": "Radio1.mp4 480"}
    lists["crop_wh"] = "Radio1_0.mp4 360 360 0 480"  # the right one, at half the size
    for kind, line in lists.items():
        (tmp_path / "hdtf" / f"RD_{kind}.txt").write_text(line)
    options = [*QUICK, "--config.track.several=reject", "--dataset=hdtf"]
    assert call(tmp_path / "hdtf", tmp_path / "a", *options).returncode == 0
    found = report(tmp_path / "a")
    assert (found["RD/Radio1_0"]["frames"], found["RD/Radio1_0"]["clips"]) == (10, 1)
    assert "between 9 s and 10 s" in found["RD/Radio1_1"]["detail"]

    media.save(tmp_path / "vfhq" / "Clip+abc+P0+C0+F0-6", frames[:6])
    (tmp_path / "vfhq" / "Clip+abc+P0+C0+F0-6.txt").write_text("FPS: 10")
    assert call(tmp_path / "vfhq", tmp_path / "b", *QUICK, "--dataset=vfhq").returncode == 0
    (line,) = report(tmp_path / "b").values()
    assert (line["frames"], line["identity"]) == (6, "VFHQ abc")


def test_splits_share_no_identity():
    split = shards.Split(validation=0.3, test=0.3, min_identities=3)
    parts = [
        Part(Path(f"{i}-{j}"), (1,), {"identity": f"person {i}"})
        for i in range(200)
        for j in range(3)
    ]
    names = shards.assign(parts, split)
    homes: dict[str, set[str]] = {}
    for part, name in zip(parts, names, strict=True):
        homes.setdefault(part.report["identity"], set()).add(name)
    assert all(len(home) == 1 for home in homes.values())
    counts = [names.count(name) / len(names) for name in ("train", "validation", "test")]
    np.testing.assert_allclose(counts, [0.4, 0.3, 0.3], atol=0.08)
    # What is added moves nobody.
    assert shards.assign(parts[:30], split) == names[:30]
    assert set(shards.assign(parts[:6], split)) == {"train"}
    with pytest.raises(UserError, match="training"):
        shards.Split(validation=0.5, test=0.5)


def test_reading_needs_no_tensorflow(prepared):
    program = """
import sys
import numpy as np
import tensorflow_datasets as tfds
from emoji_jax.data import clips
from emoji_jax.data.sources import Prepared

builder = tfds.builder_from_directory(sys.argv[1])
homes = {}
for split in builder.info.splits:
    source = builder.as_data_source(split)
    footage = Prepared(sys.argv[1], split)
    assert len(footage) == len(source)
    for i in range(len(source)):
        assert footage[i].pictures(np.array([0])).shape == (1, 64, 64, 3)
        assert len(footage[i].landmarks) == len(footage[i].landmarks.points) > 1
        clip = clips.decode(source[i])
        homes.setdefault(clip.identity, set()).add(split)
        frames = clips.decode_frames(source[i], [len(clip) - 1, 0])
        assert frames.shape == (2, 64, 64, 3)
        mesh = clip.landmarks.pixels
        assert len(mesh) == len(clip) == len(clip.detected) and clip.detected.any()
        assert mesh.min() > -5 and mesh.max() < 69
        assert np.ptp(mesh[..., 1], axis=1).mean() > 0.35 * 64
        if clip.name.startswith("uneven"):
            assert abs(clip.landmarks.times[:3] - [0, 0.1, 0.12]).max() < 2e-3
assert all(len(home) == 1 for home in homes.values()) and len(homes) >= 5, homes
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(prepared)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr


def test_killed_runs_go_on(videos, prepared, tmp_path):
    chance = random.Random(1)
    program = command(videos, tmp_path / "out", *ALL)
    for _ in range(4):
        with subprocess.Popen(program, cwd=ROOT, stderr=subprocess.DEVNULL) as run:
            time.sleep(chance.uniform(1.5, 4))
            run.send_signal(signal.SIGKILL)
    done = call(videos, tmp_path / "out", *ALL)
    assert done.returncode == 0, done.stderr
    assert dataset(tmp_path / "out") == dataset(prepared)
    again = call(videos, tmp_path / "out", *ALL)
    assert "12 inputs, 0 to do" in again.stderr
    left = [p for p in (tmp_path / "out").rglob(".*") if p.name != ".lock"]
    assert not left


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam")
def test_worker_processes_make_the_same(videos, prepared, tmp_path):
    done = call(videos, tmp_path / "out", *ALL, workers=2)
    assert done.returncode == 0, done.stderr
    assert "INFO" not in done.stderr
    assert dataset(tmp_path / "out") == dataset(prepared)
    full = call(videos, tmp_path / "full", *ALL, workers=2, limit=8)
    assert full.returncode == 2 and full.stderr.splitlines()[-1].startswith("error: ")


def test_several_faces_can_be_refused(videos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "two.mp4").symlink_to(videos / "two.mp4")
    options = [*QUICK, "--config.track.several=reject"]
    assert call(tmp_path / "in", tmp_path / "out", *options).returncode == 0
    assert report(tmp_path / "out")["two.mp4"]["reason"] == "several faces"
    assert not (tmp_path / "out" / "dataset_info.json").exists()


def test_places_that_cannot_be_written(videos, tmp_path):
    full = call(videos, tmp_path / "full", *QUICK, limit=8)
    assert full.returncode == 2
    assert "can't be written" in full.stderr.splitlines()[-1] and "Traceback" not in full.stderr
    assert not {p.suffix for p in (tmp_path / "full").iterdir()} & {".json", ".jsonl"}
    for part in (tmp_path / "full").rglob("*.part"):
        assert Part.read(part)

    (tmp_path / "file").touch()
    barred = call(videos, tmp_path / "file" / "out")
    assert barred.returncode == 2 and "Not a directory" in barred.stderr
    assert len(barred.stderr.strip().splitlines()) == 1


def test_disks_that_fail_for_a_moment(videos, tmp_path, monkeypatch):
    unit = prepare.Unit("a", str(videos / "short.mp4"), "a")
    config = prepare.PrepareConfig(attempts=3, pause=0.01)
    failures, limit, real = [], [0], cutting.open_video

    def flaky(*arguments, **options):
        if len(failures) < limit[0]:
            failures.append(1)
            try:
                raise OSError(errno.EIO, "Input/output error")
            except OSError:
                raise UserError("it can't be read") from None
        return real(*arguments, **options)

    monkeypatch.setattr(cutting, "open_video", flaky)
    found = []
    for broken in (2, 9):
        failures.clear()
        limit[0] = broken
        prepare.prepare_unit(unit, tmp_path / "a.part", config, lambda _: [])
        found.append(Part.read(tmp_path / "a.part").report)
    good, bad = found
    assert good["reason"] == "no face" and good["read"] == 3
    assert bad["reason"] == "unreadable" and bad["retry"]


def test_bugs_stay_with_their_input(tmp_path):
    Image.fromarray(media.portraits(1)[0]).save(tmp_path / "a.png")
    unit = prepare.Unit("a", str(tmp_path / "a.png"), "a")
    prepare.prepare_unit(unit, tmp_path / "a.part", prepare.PrepareConfig(), lambda _: 1 / 0)
    found = Part.read(tmp_path / "a.part").report
    assert found["reason"] == "failed" and "ZeroDivisionError" in found["detail"]


def test_spans_and_boxes(tmp_path):
    path = media.save(tmp_path / "a.mp4", media.portraits(6))
    unit = prepare.Unit("a", str(path), "a", box=(0.0, 0.5, 0.5, 9.0), span=(0.08, 0.2))
    frames = list(cutting.frames_of(unit))
    assert len(frames) == 3 and frames[0][0].shape == (120, 120, 3)
    late = prepare.Unit("a", str(path), "a", span=(9.0, 10.0))
    with pytest.raises(UserError, match="between 9 s and 10 s"):
        list(cutting.frames_of(late))


def test_damaged_parts_are_made_again(tmp_path):
    path = tmp_path / "a.part"
    with PartWriter(path) as writer:
        writer.add(b"abc")
        assert not path.exists()
        writer.finish({"input": "a"})
    part = Part.read(path)
    assert part.lengths == (3,) and part.report == {"input": "a"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.part"]
    for data in (path.read_bytes()[:-1], path.read_bytes()[1:], b""):
        path.write_bytes(data)
        assert Part.read(path) is None
    with pytest.raises(CannotWriteError, match="can't be written"):
        PartWriter(path / "b.part")
    assert os.listdir(tmp_path) == ["a.part"]
