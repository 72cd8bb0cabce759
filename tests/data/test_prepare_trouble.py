"""Preparation on disks that are full, fail for a moment or hold a great many small files."""

import cProfile
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from emoji_jax.data import clips, cutting, prepare, shards
from emoji_jax.data.crop import CropConfig
from emoji_jax.data.datasets import ReaderConfig
from emoji_jax.data.parts import CannotWriteError, Part, PartWriter, locked
from emoji_jax.data.tracking import TrackConfig
from emoji_jax.errors import UserError
from emoji_jax.images import Picture
from tests import small_disk
from tests.data import media
from tests.data.preparing import QUICK, call, command, dataset, leftovers, report

pytest.importorskip("tensorflow_datasets")


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


@small_disk.needed
def test_full_disk(videos, tmp_path):
    """Full while parts are written, then while shards are; with more space the run goes on."""
    media.need_model()
    few = videos / "Ирина"
    assert call(few, tmp_path / "alone", *QUICK).returncode == 0
    kilobytes = [-(-p.stat().st_size // 4096) * 4 for p in tmp_path.glob("alone/parts/*/*.part")]
    sizes = [max(kilobytes) + 8, sum(kilobytes) + 12, 4096]
    codes, log = small_disk.run(
        tmp_path / "disk", tmp_path / "copies", sizes, command(few, tmp_path / "disk", *QUICK)
    )
    assert codes == [2, 2, 0]
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    assert all("can't be written" in e and "No space left on device" in e for e in errors)
    assert len(errors) == 2 and "Traceback" not in log
    small, larger, large = (tmp_path / "copies" / str(size) for size in sizes)
    assert not dataset(small) and "report.jsonl" not in dataset(larger)
    assert [len(list(d.glob("parts/*/*.part"))) for d in (small, larger)] == [1, 2]
    assert dataset(large) == dataset(tmp_path / "alone") and not leftovers(large)


@pytest.mark.parametrize("moment", [0, 10])
def test_disks_that_fail_for_a_moment(tmp_path, monkeypatch, moment):
    """At once, and after clips were made of what was read before."""
    path = media.save(tmp_path / "a.mp4", media.portraits(12))
    unit = prepare.Unit("a", str(path), "a")
    tracks = TrackConfig(min_frames=2, max_frames=3)
    small = CropConfig(size=32, smallest_face=10)
    config = prepare.PrepareConfig(track=tracks, crop=small, attempts=3, pause=0.01)
    failures, limit, real = [], [0], cutting.open_video

    def flaky(*arguments, **options) -> Iterator[tuple[Picture, float]]:
        for number, frame in enumerate(real(*arguments, **options)):
            if number == moment and len(failures) < limit[0]:
                failures.append(1)
                try:
                    raise OSError(errno.EIO, "Input/output error")
                except OSError:
                    raise UserError("it can't be read") from None
            yield frame

    monkeypatch.setattr(cutting, "open_video", flaky)
    found, parts = [], []
    for limit[0] in (0, 2, 9):
        failures.clear()
        prepare.prepare_unit(unit, tmp_path / "a.part", config, lambda _: [media.face()])
        found.append((tmp_path / "a.part").read_bytes())
        parts.append(Part.read(tmp_path / "a.part"))
    assert [len(part.lengths) for part in parts] == [4, 4, 0] and found[0] == found[1]
    bad = parts[2].report
    assert (bad["reason"], bad["retry"], bad["clips"]) == ("unreadable", True, 0)
    assert len(failures) == 3


def test_what_may_have_passed_is_tried_again(tmp_path):
    media.need_model()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no video")
    assert "1 inputs, 1 to do" in call(tmp_path / "in", tmp_path / "out").stderr
    (path,) = tmp_path.glob("out/parts/*/*.part")
    with PartWriter(path) as part:
        part.finish(Part.read(path).report | {"detail": "Input/output error", "retry": True})
    assert "1 inputs, 1 to do" in call(tmp_path / "in", tmp_path / "out").stderr
    assert "retry" not in report(tmp_path / "out")["notes.txt"]
    assert "notes.txt" in report(tmp_path / "out")["notes.txt"]["detail"]


def _prepare_many(root: Path, count: int) -> list[int]:
    """Function calls that it takes to prepare a folder of small files, and to find it done."""
    (root / "in").mkdir(parents=True)
    for i in range(count):
        (root / "in" / f"{i}.txt").write_text("no video")
    config, calls = prepare.PrepareConfig(), []
    for _ in range(2):
        with cProfile.Profile() as profile, locked(root / "out"):
            units = prepare.find_units(root / "in", "folder", ReaderConfig())
            parts = prepare.make_parts(units, root / "out", config, workers=0)
            layout, splits = clips.features(), ["train"] * count
            shards.finish(root / "out", parts, splits, "portraits", 2**20, layout)
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert len((root / "out" / "report.jsonl").read_text().splitlines()) == count
    return calls


def test_many_small_files(tmp_path, monkeypatch):
    """The last of many inputs takes as much work as the first: nothing is gone through for each."""
    media.need_model()
    monkeypatch.setattr(prepare, "_detect", lambda model: lambda picture: [])
    _prepare_many(tmp_path / "imports", 1)
    few, more, most = (_prepare_many(tmp_path / str(n), n) for n in (50, 250, 450))
    for a, b, c in zip(few, more, most, strict=True):
        assert c - b < 1.05 * (b - a)


def test_bugs_stay_with_their_input(tmp_path):
    Image.fromarray(media.portraits(1)[0]).save(tmp_path / "a.png")
    unit = prepare.Unit("a", str(tmp_path / "a.png"), "a")
    prepare.prepare_unit(unit, tmp_path / "a.part", prepare.PrepareConfig(), lambda _: 1 / 0)
    found = Part.read(tmp_path / "a.part").report
    assert found["reason"] == "failed" and "ZeroDivisionError" in found["detail"]


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
