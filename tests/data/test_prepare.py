"""From folders of videos to a dataset: what is kept, and what is not and why."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from emoji_jax.data import clips, cutting, prepare, shards
from emoji_jax.data.parts import Part
from emoji_jax.data.sources import Prepared
from emoji_jax.errors import UserError
from tests.data import media
from tests.data.preparing import QUICK, ROOT, call, report

pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module", autouse=True)
def _model():
    media.need_model()


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
        "notes.txt": "unreadable",
        "名前 🙂/two\nlines.png": "unreadable",
        r"no text \xff.mp4": "",
    }
    assert found["empty.mp4"]["detail"].startswith(
        "empty.mp4 can't be read as a video: it is empty"
    )
    assert found["cut.mp4"]["clips"] >= 2
    for line in found.values():
        if "read" in line:
            assert line["read"] == line["frames"] + sum(line["dropped"].values())
        assert str(videos) not in line.get("detail", "")
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
assert all(len(home) == 1 for home in homes.values()) and len(homes) >= 6, homes
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(prepared)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr


def test_rotated_phones(tmp_path):
    """Pictures that are stored lying down or on their heads, with a note to turn them."""
    frames = media.portraits(6)
    for turns in range(4):
        stored = [np.ascontiguousarray(np.rot90(frame, -turns)) for frame in frames]
        lying = media.save(tmp_path / "stored.mp4", stored)
        (tmp_path / "in").mkdir(exist_ok=True)
        with (
            av.open(str(lying)) as source,
            av.open(str(tmp_path / "in" / f"{turns}.mp4"), "w") as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            if turns:
                stream.set_display_rotation(90 * turns)
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    done = call(tmp_path / "in", tmp_path / "out", *QUICK)
    assert done.returncode == 0, done.stderr
    source = Prepared(tmp_path / "out", "train")
    assert [line["frames"] for line in report(tmp_path / "out").values()] == [6] * 4
    upright, *others = (clips.decode(source.record(i)) for i in range(4))
    pictures = np.stack([clips.decode_picture(data) for data in upright.frames]).astype(int)
    for clip in others:
        turned = np.stack([clips.decode_picture(data) for data in clip.frames])
        assert np.abs(turned - pictures).mean() < 16  # turned the wrong way, about 60
        points = clip.landmarks.points - upright.landmarks.points
        assert np.abs(points[..., :2]).max() < 0.05


def test_several_faces_can_be_refused(videos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "two.mp4").symlink_to(videos / "two.mp4")
    options = [*QUICK, "--config.track.several=reject"]
    assert call(tmp_path / "in", tmp_path / "out", *options).returncode == 0
    assert report(tmp_path / "out")["two.mp4"]["reason"] == "several faces"
    assert not (tmp_path / "out" / "dataset_info.json").exists()


def test_spans_and_boxes(tmp_path):
    path = media.save(tmp_path / "a.mp4", media.portraits(6))
    unit = prepare.Unit("a", str(path), "a", box=(0.0, 0.5, 0.5, 9.0), span=(0.08, 0.2))
    frames = list(cutting.frames_of(unit))
    assert len(frames) == 3 and frames[0][0].shape == (120, 120, 3)
    late = prepare.Unit("a", str(path), "a", span=(9.0, 10.0))
    with pytest.raises(UserError, match="between 9 s and 10 s"):
        list(cutting.frames_of(late))
