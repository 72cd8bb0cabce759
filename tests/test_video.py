"""Moving pictures of every kind, whole and damaged."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emoji_jax.errors import UserError
from emoji_jax.video import open_video, read_video
from emoji_jax.video_writer import write_video

_TICKS = 90_000


def picture(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i: a grey that tells which it is, and a bright left third."""
    frame = np.full((height, width, 3), 8 * (i % 25) + 16, np.uint8)
    frame[:, : width // 3] = 230
    return frame


def number(frame: np.ndarray) -> int:
    """Which `picture` this is, whatever a codec did to it."""
    return round((float(frame[10:-10, -20:-10].mean()) - 16) / 8)


def write_mp4(
    path: Path,
    count: int = 20,
    *,
    times: np.ndarray | None = None,
    sound: bool = False,
    rate: Fraction = Fraction(25),
    rotation: int = 0,
    size: tuple[int, int] = (48, 64),
    options: dict[str, str] | None = None,
) -> Path:
    """Writes a video of `picture`s, with a sine of the same length."""
    times = np.arange(count) / float(rate) if times is None else times
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate, options={"crf": "10", "bf": "2"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        if rotation:
            stream.set_display_rotation(rotation)
        tone = container.add_stream("aac", 44_100, layout="mono") if sound else None
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, *size), "rgb24")
            frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            wave = np.sin(np.arange(round(44_100 * (times[-1] + 0.04))) * 0.06)
            samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
            samples.sample_rate = 44_100
            container.mux(tone.encode(samples))
            container.mux(tone.encode(None))
    return path


def write_animation(path: Path, durations: list[int], alpha: bool = False, **options) -> Path:
    frames = [Image.fromarray(picture(i)) for i in range(len(durations))]
    if alpha:
        for frame in frames:
            frame.putalpha(Image.fromarray(np.repeat([[0, 255]], 32, 1).repeat(48, 0).astype("u1")))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


def test_mp4(tmp_path):
    video = open_video(write_mp4(tmp_path / "a.mp4", sound=True))
    assert (video.length, video.frame_rate) == (20, 25)
    assert video.audio == tmp_path / "a.mp4"
    for _ in range(2):
        frames, times = zip(*video, strict=True)
        assert [number(frame) for frame in frames] == list(range(20))
        np.testing.assert_allclose(times, np.arange(20) / 25, atol=1e-3)
    assert frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8
    assert np.abs(frames[3][:, 2:18].astype(int) - 230).max() < 6


def test_all_at_once(tmp_path):
    frames, rate = read_video(write_mp4(tmp_path / "a.mp4"), 7)
    assert frames.shape == (7, 48, 64, 3) and rate == 25


def test_no_sound(tmp_path):
    assert open_video(write_mp4(tmp_path / "a.mp4", 3)).audio is None


def test_ntsc_rate(tmp_path):
    rate = Fraction(30_000, 1001)
    video = open_video(write_mp4(tmp_path / "a.mp4", 9, rate=rate))
    assert video.frame_rate == rate
    np.testing.assert_allclose([time for _, time in video], np.arange(9) * 1001 / 30_000, atol=1e-4)


def test_variable_rate(tmp_path):
    times = np.array([0, 0.04, 0.08, 0.5, 0.54, 1.0, 1.4])
    video = open_video(write_mp4(tmp_path / "a.mp4", times=times))
    found = list(video)
    np.testing.assert_allclose([time for _, time in found], times, atol=1e-3)
    assert [number(frame) for frame, _ in found] == list(range(7))


def test_start_later_than_the_file(tmp_path):
    times = 0.6 + np.arange(6) / 25
    video = open_video(write_mp4(tmp_path / "a.mkv", times=times))
    np.testing.assert_allclose([time for _, time in video], times, atol=2e-3)


@pytest.mark.parametrize("limit", [1, 4, 50])
def test_limit(tmp_path, limit):
    video = open_video(write_mp4(tmp_path / "a.mp4", 10), frames=limit)
    assert video.length == len(list(video)) == min(limit, 10)


def test_limit_of_a_folder_and_of_an_animation(tmp_path):
    path = write_animation(tmp_path / "a.webp", [40] * 5)
    assert len(list(open_video(path, frames=2))) == 2
    (tmp_path / "frames").mkdir()
    for i in range(5):
        Image.fromarray(picture(i)).save(tmp_path / "frames" / f"{i}.png")
    assert len(list(open_video(tmp_path / "frames", frames=2))) == 2


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_by_its_metadata(tmp_path, rotation):
    path = write_mp4(tmp_path / "a.mp4", 3, rotation=rotation)
    upright = np.rot90(picture(1), rotation // 90 % 4)
    frames, _ = read_video(path)
    assert frames[1].shape == upright.shape
    assert np.abs(frames[1].astype(int) - upright).mean() < 6


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("place", ["front", "back"])
def test_cut_short(tmp_path, share, place):
    """The index is in front, and frames are missing; or at the back, and it is missing."""
    options = {"movflags": "faststart"} if place == "front" else None
    path = write_mp4(tmp_path / "a.mp4", 60, sound=True, size=(240, 320), options=options)
    whole = path.read_bytes()
    assert (whole.index(b"moov") < whole.index(b"mdat")) == (place == "front")
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"a\.mp4 (is cut short|breaks off|can't be read)"):
        read_video(path)


def test_cut_short_beyond_the_limit_is_no_matter(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", 60, size=(240, 320), options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.8)])
    assert len(read_video(path, 5)[0]) == 5


def test_webm_and_mkv_say_no_length(tmp_path):
    video = open_video(write_mp4(tmp_path / "a.mkv", 6))
    assert video.length is None and len(list(video)) == 6


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.gif", {"loop": 0}), ("a.webp", {"lossless": True}), ("a.png", {})],
)
def test_animations(tmp_path, name, options):
    durations = [40, 80, 120, 60]
    video = open_video(write_animation(tmp_path / name, durations, **options))
    assert (video.length, video.audio) == (4, None)
    assert float(video.frame_rate) == pytest.approx(4 / 0.3, rel=1e-3)
    for _ in range(2):
        frames, times = zip(*video, strict=True)
        np.testing.assert_allclose(times, [0, 0.04, 0.12, 0.24])
        assert [number(frame) for frame in frames] == [0, 1, 2, 3]
    assert all(np.abs(frame.astype(int) - picture(i)).max() < 3 for i, frame in enumerate(frames))


def test_durations_that_say_nothing(tmp_path):
    video = open_video(write_animation(tmp_path / "a.gif", [0, 0, 0]))
    assert video.frame_rate == 10
    np.testing.assert_allclose([time for _, time in video], [0, 0.1, 0.2])


def test_webp_with_alpha(tmp_path):
    frames, rate = read_video(write_animation(tmp_path / "a.webp", [50] * 3, True, lossless=True))
    assert rate == 20
    assert np.all(frames[:, :, :32] == 255)
    np.testing.assert_array_equal(frames[2, :, 32:], picture(2)[:, 32:])


def test_gif_with_partial_frames(tmp_path):
    """Frames that hold only what changes, and pixels left as they were."""
    frames = [np.full((32, 32, 3), 40, np.uint8) for _ in range(3)]
    frames[1][4:8, 4:8] = [250, 0, 0]
    frames[2][4:8, 4:8] = [250, 0, 0]
    frames[2][20:24, 20:24] = [0, 0, 250]
    first, *rest = map(Image.fromarray, frames)
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=50)
    np.testing.assert_array_equal(read_video(tmp_path / "a.gif")[0], frames)


def test_still_picture_is_one_frame(tmp_path):
    Image.fromarray(picture(3)).save(tmp_path / "a.png")
    video = open_video(tmp_path / "a.png", frame_rate=25.0)
    assert (video.length, video.frame_rate) == (1, 25)
    ((frame, time),) = video
    np.testing.assert_array_equal(frame, picture(3))
    assert time == 0


def test_folder_in_natural_order(tmp_path):
    for i, name in enumerate(["frame1", "frame2", "frame10", "frame011", "frame100"]):
        Image.fromarray(picture(i)).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".frame5.png").write_bytes(b"what an operating system leaves behind")
    video = open_video(tmp_path, frame_rate=12.5)
    assert (video.length, video.frame_rate, video.audio) == (5, Fraction(25, 2), None)
    assert [number(frame) for frame, _ in video] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([time for _, time in video], np.arange(5) / 12.5)


def test_folder_of_names_that_begin_with_either_digits_or_letters(tmp_path):
    for i, name in enumerate(["2", "10", "a1"]):
        Image.fromarray(picture(i)).save(tmp_path / f"{name}.png")
    assert [number(frame) for frame, _ in open_video(tmp_path)] == [0, 1, 2]


def test_digits_of_other_scripts(tmp_path):
    for name in ["²1", "1", "٣"]:
        Image.fromarray(picture(0)).save(tmp_path / f"{name}.png")
    assert open_video(tmp_path).length == 3


def test_folder_with_frames_of_several_sizes(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    Image.fromarray(picture(1)).save(tmp_path / "1.png")
    Image.fromarray(picture(2, 48, 66)).save(tmp_path / "2.png")
    with pytest.raises(UserError, match=r"frame 2 is 66x48 pixels, those before it 64x48"):
        read_video(tmp_path)


def test_folder_with_a_damaged_frame(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1\.png is no picture: it is empty"):
        read_video(tmp_path)


def test_folder_without_pictures(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(UserError, match="holds no pictures; expected a video"):
        open_video(tmp_path)


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4 does not exist; expected a video"):
        open_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a"])
def test_empty(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="can't be read as a video: it is empty; expected a video"):
        read_video(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a", "a.txt"])
def test_not_a_video(tmp_path, name):
    (tmp_path / name).write_bytes(b"Dear diary,\n" * 50)
    with pytest.raises(
        UserError, match=rf"{tmp_path / name} (can't be read|breaks off|holds no moving pictures)"
    ):
        read_video(tmp_path / name)


def test_pictures_of_a_phone_that_hold_a_preview(tmp_path):
    preview = Image.fromarray(picture(1, 24, 32))
    Image.fromarray(picture(2)).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview]
    )
    frames, _ = read_video(tmp_path / "a.jpg")
    assert frames.shape == (1, 48, 64, 3)


def test_too_many_pixels(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.gif")
    for limit in (3000, 1000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match="too many pixels"):
            open_video(tmp_path / "a.gif")


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", 44_100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 9000), np.float32), "fltp", "mono")
        silence.sample_rate = 44_100
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="holds no moving pictures"):
        open_video(tmp_path / "a.m4a")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_animation_cut_short(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=40)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=str(tmp_path / name)):
        read_video(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        open_video(tmp_path / "pipe.mp4")


def test_matroska_cut_short(tmp_path):
    whole = tmp_path / "whole.mkv"
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    write_video(whole, noise, 25.0)
    assert len(read_video(whole)[0]) == 40
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cut short|breaks off|can't be read"):
        read_video(cut)
