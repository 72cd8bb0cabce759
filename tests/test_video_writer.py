"""Writing moving pictures: what is in the file, and that nothing half-written stays."""

import errno
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emoji_jax.errors import UserError
from emoji_jax.video import open_video, read_video
from emoji_jax.video_writer import VideoWriter, check_path, write_video

_RATE = 44_100
_SUFFIXES = [".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", ""]


def pictures(count: int = 6, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames that differ, smooth enough to survive a codec."""
    y, x = np.mgrid[0:height, 0:width]
    frames = [np.stack([x * 2 + 8 * i, y * 3, 200 - 12 * i + 0 * x], -1) for i in range(count)]
    return [np.clip(frame, 0, 255).astype(np.uint8) for frame in frames]


def write_sound(path: Path, seconds: float, codec: str = "aac", click: float | None = None) -> Path:
    """Writes a video that is black with a sine, or silence with a click at some second."""
    count = round(seconds * 25)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        tone = container.add_stream(codec, _RATE if codec != "libopus" else 48_000, layout="mono")
        rate = tone.codec_context.sample_rate
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        time = np.arange(round(rate * seconds)) / rate
        wave = 0.5 * np.sin(2 * np.pi * 440 * time)
        if click is not None:
            wave *= (time >= click) & (time < click + 0.1)
        kind = "flt" if codec == "libopus" else "fltp"
        samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), kind, "mono")
        samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
        container.mux(tone.encode(samples))
        container.mux(tone.encode(None))
    return path


def payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.size]


def click_time(path: Path) -> float:
    """When the sound becomes loud, seconds."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(np.float64))
            wave = wave / (32768 if "s16" in frame.format.name else 1)
            loud = np.flatnonzero(wave.reshape(-1) > 0.1)
            if len(loud):
                channels = 1 if frame.format.is_planar else len(frame.layout.channels)
                return frame.time + (loud[0] % frame.samples) / channels / frame.sample_rate
    raise AssertionError("nothing is to be heard")


def sound_end(path: Path) -> float:
    with av.open(str(path)) as container:
        *_, last = container.decode(audio=0)
        return last.time + last.samples / last.sample_rate


def left(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_frames_and_rate(tmp_path, suffix):
    frames = pictures()
    write_video(tmp_path / f"a{suffix}", frames, 25.0)
    assert left(tmp_path) == [f"a{suffix}"]
    found, rate = read_video(tmp_path / f"a{suffix}")
    assert found.shape == (6, 48, 64, 3)
    assert suffix == "" or rate == 25
    worst = {".gif": 30, "": 0}.get(suffix, 16)
    assert np.abs(found.astype(int) - frames).mean(axis=(1, 2, 3)).max() <= worst / 4
    if suffix == "":
        assert left(tmp_path / "a")[0] == "000000.png"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp"])
def test_times(tmp_path, suffix):
    times = np.array([2.0, 2.04, 2.2, 2.24, 2.5, 2.6])
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, (48, 64), 10.0, times=times) as writer:
        for frame in pictures():
            writer.write(frame)
    found = [time for _, time in open_video(path)]
    np.testing.assert_allclose(found, times - 2, atol=2e-3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_rounded_durations_do_not_add_up(tmp_path, suffix):
    rate = Fraction(30_000, 1001)
    write_video(tmp_path / f"a{suffix}", pictures(20), rate)
    found = [time for _, time in open_video(tmp_path / f"a{suffix}")]
    np.testing.assert_allclose(found, np.arange(20) / float(rate), atol=0.0051)


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(60)])
def test_rate_is_exact(tmp_path, rate):
    write_video(tmp_path / "a.mp4", pictures(), rate)
    assert open_video(tmp_path / "a.mp4").frame_rate == rate


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_odd_sides_are_padded_where_the_codec_needs_it(tmp_path, suffix):
    frames = pictures(3, 47, 63)
    write_video(tmp_path / f"a{suffix}", frames, 20.0)
    found, _ = read_video(tmp_path / f"a{suffix}")
    assert found.shape == (3, *((47, 63) if suffix in (".gif", ".webp", "") else (48, 64)), 3)
    assert np.abs(found[:, :47, :63].astype(int) - frames).mean() < 8


def test_single_frame(tmp_path):
    for suffix in _SUFFIXES:
        write_video(tmp_path / f"a{suffix}", pictures(1), 25.0)
        assert len(read_video(tmp_path / f"a{suffix}")[0]) == 1


def test_colours_are_those_of_hdtv(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(), 25.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_range) == (1, 1, 1)
        assert context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_sound_is_copied_packet_for_packet(tmp_path, suffix):
    source = write_sound(tmp_path / "in.mp4", 1.0)
    write_video(tmp_path / f"a{suffix}", pictures(25), 25.0, audio=source)
    found, expected = payloads(tmp_path / f"a{suffix}"), payloads(source)
    assert len(expected) - 2 <= len(found)
    assert found == expected[: len(found)]


def test_sound_is_encoded_anew_for_webm(tmp_path):
    source = write_sound(tmp_path / "in.mp4", 1.0)
    write_video(tmp_path / "a.webm", pictures(25), 25.0, audio=source)
    with av.open(str(tmp_path / "a.webm")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name in ("opus", "libopus")
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    tone = np.abs(np.fft.rfft(wave[9_600:33_600]))
    assert tone.argmax() * 2 == 440
    assert sound_end(tmp_path / "a.webm") == pytest.approx(1.0, abs=0.03)


def test_opus_is_kept_for_webm_but_not_for_mp4(tmp_path):
    source = write_sound(tmp_path / "in.mkv", 0.6, "libopus")
    write_video(tmp_path / "a.webm", pictures(15), 25.0, audio=source)
    found, expected = payloads(tmp_path / "a.webm"), payloads(source)
    assert len(expected) - 2 <= len(found) and found == expected[: len(found)]
    write_video(tmp_path / "a.mp4", pictures(15), 25.0, audio=source)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_sound_stays_in_step(tmp_path, suffix, start):
    """A click at 0.8 s is heard at 0.8 s minus the time of the first frame that is kept."""
    source = write_sound(tmp_path / "in.mp4", 1.6, click=0.8)
    assert click_time(source) == pytest.approx(0.8, abs=0.01)
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, (48, 64), 25.0, times=start + np.arange(25) / 25, audio=source) as w:
        for frame in pictures(25):
            w.write(frame)
    assert next(time for _, time in open_video(path)) == pytest.approx(0, abs=0.025)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).time
    assert click_time(path) - first == pytest.approx(0.8 - start, abs=0.025)


def test_sound_ends_with_the_pictures(tmp_path):
    source = write_sound(tmp_path / "in.mp4", 3.0)
    for suffix in (".mp4", ".webm"):
        write_video(tmp_path / f"a{suffix}", pictures(10), 25.0, audio=source)
        assert sound_end(tmp_path / f"a{suffix}") == pytest.approx(0.4, abs=0.05)


def test_sound_shorter_than_the_pictures(tmp_path):
    source = write_sound(tmp_path / "in.mp4", 0.2)
    write_video(tmp_path / "a.mp4", pictures(25), 25.0, audio=source)
    assert sound_end(tmp_path / "a.mp4") == pytest.approx(0.2, abs=0.05)
    assert len(read_video(tmp_path / "a.mp4")[0]) == 25


def test_sound_with_a_gap(tmp_path):
    """Sound that pauses in the middle, as recordings of calls do."""
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        tone = container.add_stream("flac", _RATE, layout="mono")
        for start in (0, 2 * _RATE):
            for piece in range(8):
                wave = np.full((1, 4608), 1000, np.int16)
                samples = av.AudioFrame.from_ndarray(wave, "s16", "mono")
                samples.sample_rate, samples.time_base = _RATE, Fraction(1, _RATE)
                samples.pts = start + 4608 * piece
                for packet in tone.encode(samples):
                    packet.pts = packet.dts = samples.pts
                    container.mux(packet)
    write_video(tmp_path / "a.mp4", pictures(75), 25.0, audio=tmp_path / "in.mkv")
    with av.open(str(tmp_path / "a.mp4")) as container:
        loud = [
            frame.time
            for frame in container.decode(audio=0)
            if np.abs(frame.to_ndarray()).mean() > 0.01
        ]
    assert min(loud) < 0.05 and not any(0.9 < time < 1.9 for time in loud)
    assert max(loud) > 2.7


def test_gif_has_no_sound(tmp_path):
    source = write_sound(tmp_path / "in.mp4", 0.4)
    write_video(tmp_path / "a.gif", pictures(), 25.0, audio=source)
    assert open_video(tmp_path / "a.gif").audio is None


def test_sound_that_can_not_be_read(tmp_path):
    (tmp_path / "in.mp4").write_bytes(b"no sound at all")
    with pytest.raises(UserError, match=r"in\.mp4"):
        write_video(tmp_path / "a.mp4", pictures(), 25.0, audio=tmp_path / "in.mp4")
    write_video(tmp_path / "mute.mp4", pictures(), 25.0)
    with pytest.raises(UserError, match=r"mute\.mp4 has no sound"):
        write_video(tmp_path / "a.mp4", pictures(), 25.0, audio=tmp_path / "mute.mp4")
    assert left(tmp_path) == ["in.mp4", "mute.mp4"]


@pytest.mark.parametrize("suffix", _SUFFIXES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UserError])
def test_nothing_is_left_after_an_exception(tmp_path, suffix, error):
    source = None if suffix in (".gif", ".webp", "") else write_sound(tmp_path / "in.mp4", 0.4)
    with (
        pytest.raises(error, match="stop"),
        VideoWriter(tmp_path / f"a{suffix}", (48, 64), 25.0, audio=source) as writer,
    ):
        for frame in pictures(3):
            writer.write(frame)
        raise error("stop")
    assert left(tmp_path) == (["in.mp4"] if source else [])


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_no_frames(tmp_path, suffix):
    with (
        pytest.raises(UserError, match="there are no frames to write"),
        VideoWriter(tmp_path / f"a{suffix}", (48, 64), 25.0),
    ):
        pass
    with pytest.raises(UserError, match="there are no frames to write"):
        write_video(tmp_path / f"a{suffix}", [])
    assert left(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_existing_file_is_replaced_once_the_new_one_is_complete(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old one")
    with pytest.raises(RuntimeError), VideoWriter(path, (48, 64), 25.0) as writer:
        writer.write(pictures()[0])
        raise RuntimeError
    assert path.read_bytes() == b"the old one"
    with VideoWriter(path, (48, 64), 25.0) as writer:
        for frame in pictures():
            writer.write(frame)
        assert path.read_bytes() == b"the old one"
    assert len(read_video(path)[0]) == 6
    assert left(tmp_path) == [path.name]


def test_leftovers_of_a_killed_run_are_no_hindrance(tmp_path):
    first = VideoWriter(tmp_path / "a", (48, 64), 25.0)
    first.write(pictures()[0])
    write_video(tmp_path / "a", pictures(2), 25.0)
    assert left(tmp_path) == ["a"] and len(left(tmp_path / "a")) == 2


def test_missing_folders_are_made(tmp_path):
    write_video(tmp_path / "new" / "folder" / "a.mp4", pictures(), 25.0)
    assert (tmp_path / "new" / "folder" / "a.mp4").is_file()


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "a").mkdir()
    write_video(tmp_path / "a", pictures(2), 25.0)
    assert left(tmp_path / "a") == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.avi", r"has the suffix \.avi; expected \.mp4, \.mov"),
        ("file/a.mp4", "can't be written: .*file is not a folder"),
        ("file/new/a", "can't be written: .*file is not a folder"),
        ("file", "is a file already"),
        ("full", "is a folder already"),
        ("folder.mp4", "is a folder already"),
    ],
)
def test_impossible_names(tmp_path, name, reason):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.png").write_text("precious")
    (tmp_path / "folder.mp4").mkdir()
    before = left(tmp_path)
    for refused in (check_path, lambda path: write_video(path, pictures(), 25.0)):
        with pytest.raises(UserError, match=reason):
            refused(tmp_path / name)
    assert left(tmp_path) == before
    assert (tmp_path / "full" / "mine.png").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_no_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission"):
        check_path(tmp_path / "locked" / "a.mp4")


def test_frame_of_another_size(tmp_path):
    with (
        pytest.raises(ValueError, match=r"frame is \(20, 64, 3\)"),
        VideoWriter(tmp_path / "a.mp4", (48, 64), 25.0) as writer,
    ):
        writer.write(pictures(1, 20, 64)[0])
    assert left(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system can't be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_full_disk(small_disk, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (12, 240, 320, 3), np.uint8)
    with pytest.raises(UserError, match=r"can't be written: No space left on device"):
        write_video(small_disk / f"a{suffix}", list(noise), 25.0)
    assert left(small_disk) == []


@pytest.mark.parametrize("suffix", [".gif", ".webp", ""])
def test_full_disk_as_pillow_reports_it(tmp_path, monkeypatch, suffix):
    def save(image, path, **options):
        if Path(path).is_file():
            Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match=r"can't be written: No space left on device"):
        write_video(tmp_path / f"a{suffix}", pictures(), 25.0)
    assert left(tmp_path) == []


def test_full_disk_as_ffmpeg_reports_it(tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "a.mp4", (48, 64), 25.0)

    def full(*_):
        raise av.error.OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer._sink, "_mux", full)
    with pytest.raises(UserError, match=r"can't be written: No space left on device"), writer:
        writer.write(pictures()[0])
    assert left(tmp_path) == []


@pytest.mark.parametrize(("suffix", "kept"), [(".gif", 4), (".webp", 8)])
def test_frames_too_quick_for_the_format_are_left_out(tmp_path, suffix, kept):
    """60 frames per second in a GIF would play at 10: it keeps every other one instead."""
    frames = [np.full((16, 16, 3), 30 * i, np.uint8) for i in range(8)]
    path = tmp_path / f"quick{suffix}"
    write_video(path, frames, 60.0)
    read, rate = read_video(path)
    assert len(read) == kept
    assert len(read) / float(rate) == pytest.approx(8 / 60, abs=0.02)
