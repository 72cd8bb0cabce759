"""What animators do with a picture: frames, faces, landmarks by hand, sound in time."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emoji_jax import by_hand
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.driver import MotionConfig
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig
from emoji_jax.sampling import SamplerConfig
from emoji_jax.video import open_video, read_video
from emoji_jax.video_writer import VideoWriter
from tests.conftest import PORTRAIT

ROOT = Path(__file__).parent.parent
ONE_STEP = SamplerConfig(steps=1, guidance_scale=1.0)
pytestmark = pytest.mark.usefixtures("landmark_model")


@pytest.fixture(scope="module")
def animator(weights) -> Animator:
    return Animator.load(weights)


@pytest.fixture
def pair() -> np.ndarray:
    """Two people side by side; the one on the right is larger."""
    with Image.open(PORTRAIT) as image:
        face = image.crop((60, 20, 260, 260))
    picture = Image.new("RGB", (700, 401), (90, 120, 90))
    picture.paste(face.resize((200, 240)), (20, 120))
    picture.paste(face.resize((300, 360)), (380, 20))
    return np.array(picture)


def test_the_face_moves_and_the_picture_around_it_stays(animator):
    with Image.open(PORTRAIT) as image:
        portrait = np.array(image.resize((301, 449)))
    animation = animator(portrait, synthetic.motion("laugh", 3), sampler=ONE_STEP)
    view = animation.actors[0].view
    frames = list(animation)
    outside = np.ones(portrait.shape[:2], bool)
    rows, columns = view.extent
    outside[view.top : view.top + rows, view.left : view.left + columns] = False
    assert 0.2 < outside.mean() < 0.9
    for frame in frames:
        assert frame.shape == portrait.shape
        np.testing.assert_array_equal(frame[outside], portrait[outside])
        assert np.abs(frame[~outside].astype(int) - portrait[~outside]).mean() > 3


@pytest.mark.parametrize(
    ("face", "left"), [("largest", False), ("leftmost", True), (0, True), (1, False)]
)
def test_one_of_several_faces(animator, pair, face, left):
    animation = animator(pair, synthetic.motion("laugh", 1), framing=FramingConfig(face=face))
    (actor,) = animation.actors
    assert (actor.view.left + actor.view.extent[1] / 2 < 300) == left
    assert "shows 2 faces" in animation.notes[0]


def test_all_faces_each_with_its_own_driver(animator, pair):
    """The first says how many frames and when; the other is brought to its times."""
    laugh, wink = synthetic.motion("laugh", 5), synthetic.motion("wink", 51)
    animation = animator(pair, [laugh, wink], framing=FramingConfig(face="all"), sampler=ONE_STEP)
    left, right = animation.actors
    assert left.view.left < right.view.left and len(animation) == 5
    alone = animator(pair, laugh, framing=FramingConfig(face=0))
    every = np.arange(5)
    np.testing.assert_array_equal(left.pictures[every], alone.actors[0].pictures[every])
    assert not np.array_equal(left.pictures[every], right.pictures[every])
    frames = np.stack(list(animation))
    for actor in animation.actors:
        middle = (
            actor.view.top + actor.view.extent[0] // 2,
            actor.view.left + actor.view.extent[1] // 2,
        )
        assert np.abs(frames[0][middle].astype(int) - pair[middle]).max() > 0
    with pytest.raises(UserError, match="3 motions for 2 faces"):
        animator(pair, [laugh] * 3, framing=FramingConfig(face="all"))


def test_a_face_number_that_there_is_not(animator, pair):
    with pytest.raises(UserError, match=r"framing\.face is 2; .* shows faces 0 to 1"):
        animator(pair, synthetic.motion("laugh", 1), framing=FramingConfig(face=2))


def test_a_tiny_face_is_told(animator, monkeypatch):
    with Image.open(PORTRAIT) as image:
        face = image.crop((60, 20, 260, 260)).resize((80, 96))
    picture = Image.new("RGB", (256, 256), "grey")
    picture.paste(face, (80, 80))
    notes = animator(np.array(picture), synthetic.motion("laugh", 1)).notes
    # Random networks make 32 pixels: nothing is small for them.
    assert not notes
    large = dataclasses.replace(animator.programs.cfg, size=(512, 512))
    monkeypatch.setattr(animator.programs, "cfg", large)
    (note,) = animator(np.array(picture), synthetic.motion("laugh", 1)).notes
    assert "a face is small" in note and "enlarged to 512" in note


def animal(folder: Path) -> Path:
    """A picture in which nobody finds a face."""
    y, x = np.mgrid[:240, :320]
    Image.fromarray(np.uint8(np.stack([x % 256, y, (x + y) % 256], 2))).save(folder / "cat.png")
    return folder / "cat.png"


def test_landmarks_by_hand(animator, tmp_path):
    """Named points go where they were put, and the rest of the face with them."""
    picture = animal(tmp_path)
    with pytest.raises(UserError, match=r"no face was found .*ref_landmarks"):
        animator(picture, synthetic.motion("laugh", 1))
    points = {
        "left_eye": [120, 90],
        "right_eye": [200, 92],
        "nose": [160, 130],
        "mouth_left": [135, 165],
        "mouth_right": [186, 166],
    }
    (tmp_path / "cat.json").write_text(json.dumps(points))
    face = by_hand.read(tmp_path / "cat.json", picture)
    for name, place in points.items():
        np.testing.assert_allclose(face.pixels[0, by_hand.NAMED[name]], place, atol=0.1)
    animation = animator(
        picture, synthetic.motion("laugh", 3), ref_landmarks=face, sampler=ONE_STEP
    )
    assert next(iter(animation)).shape == (240, 320, 3)
    drawn = animation.actors[0].pictures[np.arange(3)]
    assert drawn.any(axis=(1, 2, 3)).all()
    for wrong in ([float("nan"), 1], [1e9, 1]):
        (tmp_path / "wrong.json").write_text(json.dumps({**points, "nose": wrong}))
        with pytest.raises(UserError, match="far outside of the picture"):
            by_hand.read(tmp_path / "wrong.json", picture)
    # What was fitted, saved and read again is the same.
    face.save(tmp_path / "cat.npz")
    again = by_hand.read(tmp_path / "cat.npz", picture)
    np.testing.assert_allclose(again.points, face.points, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "holds no points"),
        ('{"left_eye": [1]}', "holds no points"),
        ('{"ear": [1, 2]}', "names 'ear'"),
        ('{"left_eye": [1, 2], "right_eye": [3, 4]}', "2 points are given"),
        ('{"left_eye": [1, 2], "right_eye": [3, 4], "nose": [5, 6]}', "on one line"),
        ('{"left_eye": [90, 9], "right_eye": [9, 9], "nose": [50, 50]}', "face is mirrored"),
    ],
)
def test_points_by_hand_that_are_wrong(tmp_path, text, said):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UserError, match=said):
        by_hand.read(tmp_path / "p.json", animal(tmp_path))


def flash_and_beep(path: Path, count: int, at: int, rate: int = 25) -> None:
    """A face that jumps to the side in frame `at`, when a tone sets in."""
    with Image.open(PORTRAIT) as image:
        picture = np.array(image.resize((240, 336)))
    times = np.arange(count) / rate
    samples = 48_000 * count // rate
    tone = np.sin(2 * np.pi * 880 * np.arange(samples) / 48_000).astype(np.float32)
    tone[: 48_000 * at // rate] = 0
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate), out.add_stream("aac", 48_000)
        video.width, video.height, video.pix_fmt = 240, 336, "yuv420p"
        for i in range(count):
            shifted = np.roll(picture, 24, 1) if i >= at else picture
            out.mux(video.encode(av.VideoFrame.from_ndarray(shifted)))
        out.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = 48_000
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    assert len(times) == count


def onset(path: Path) -> float:
    """When the sound of a file sets in, seconds after its first frame is shown."""
    with av.open(str(path)) as file:
        first = next(file.decode(video=0)).time
        file.seek(0)
        for frame in file.decode(audio=0):
            loud = np.abs(frame.to_ndarray()).max(0) > 0.3
            if loud.any():
                return frame.time + loud.argmax() / frame.sample_rate - first
    raise AssertionError("it is silent")


@pytest.mark.parametrize("start", [0.0, 0.48])
def test_beep_and_flash_stay_together(animator, tmp_path, start):
    """In the result, too, the face jumps in the frame in which the tone sets in."""
    flash_and_beep(tmp_path / "driver.mp4", count=40, at=24)
    beep = onset(tmp_path / "driver.mp4")
    assert abs(beep - 24 / 25) < 1 / 25  # AAC shifts it by half a frame
    animation = animator(
        PORTRAIT,
        tmp_path / "driver.mp4",
        sampler=ONE_STEP,
        moving=MotionConfig(start=start),
        framing=FramingConfig(paste=False),
    )
    animation.save(tmp_path / "out.mp4", grid=True)
    found = list(open_video(tmp_path / "out.mp4"))
    assert len(found) == 40 - round(start * 25)
    side = animator.config.size[0]
    drawn = np.stack([frame[:, side : 2 * side] for frame, _ in found]).astype(int)
    jumps = np.abs(np.diff(drawn, axis=0)).mean((1, 2, 3))
    shown = found[1 + int(jumps.argmax())][1] - found[0][1]
    assert abs(shown - (24 / 25 - start)) < 1e-3
    assert abs(onset(tmp_path / "out.mp4") - (beep - start)) < 0.005


def test_uneven_frame_times_come_out_as_they_went_in(animator, tmp_path):
    times = np.array([0, 0.04, 0.2, 0.24, 0.5, 0.52])
    with Image.open(PORTRAIT) as image:
        picture = np.array(image)
    with VideoWriter(tmp_path / "in.mp4", picture.shape[:2], 25.0, times=times) as writer:
        for i in range(len(times)):
            writer.write(np.roll(picture, 4 * i, 0))
    animator(PORTRAIT, tmp_path / "in.mp4", sampler=ONE_STEP).save(tmp_path / "out.mp4")
    found = np.array([time for _, time in open_video(tmp_path / "out.mp4")])
    np.testing.assert_allclose(found - found[0], times, atol=1e-3)


def test_sound_of_no_length(animator, tmp_path):
    """A file that promises sound and has none makes a silent video."""
    with Image.open(PORTRAIT) as image:
        picture = np.array(image.resize((240, 336)))
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        video = out.add_stream("libx264", 25)
        out.add_stream("aac", 48_000)
        video.width, video.height, video.pix_fmt = 240, 336, "yuv420p"
        for _ in range(3):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode())
    animator(PORTRAIT, tmp_path / "in.mkv", sampler=ONE_STEP).save(tmp_path / "out.mp4")
    assert len(read_video(tmp_path / "out.mp4")[0]) == 3


def run(folder: Path, weights: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "emoji_jax.sample",
            f"--checkpoint={weights}",
            f"--ref={PORTRAIT}",
            "--config.sampler.steps=2",
            *options,
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_still_picture_and_saved_motion(tmp_path, weights):
    done = run(tmp_path, weights, "--still", "--driving=expression:laugh", "--save_motion=m.npz")
    assert (done.returncode, done.stdout) == (0, "out.png: 1 frame\n"), done.stderr
    with Image.open(tmp_path / "out.png") as image, Image.open(PORTRAIT) as portrait:
        assert image.size == portrait.size
    again = run(tmp_path, weights, "--driving=m.npz", "--still", "--out=again.png")
    assert again.returncode == 0, again.stderr
    refused = run(tmp_path, weights, "--driving=expression:laugh", "--out=two.png")
    assert refused.returncode == 2
    assert "two.png would hold one picture, and there are 50 frames" in refused.stderr
    refused = run(tmp_path, weights, "--driving=expression:laugh", "--still", "--out=one.mp4")
    assert refused.returncode == 2 and "--still makes a picture" in refused.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"out.png", "m.npz", "again.png"}


def test_an_interrupted_video_goes_on_where_it_was(tmp_path, weights):
    """Stopped in the middle of denoising, then resumed: frame for frame what comes of one go."""
    options = ("--driving=expression:laugh", "--frames=30", "--config.sampler.frames=4")
    whole = run(tmp_path, weights, *options, "--out=whole")
    assert whole.returncode == 0, whole.stderr
    script = (
        "import sys, emoji_jax.sampling.work as w, os\n"
        "commit = w.Work.commit\n"
        "def stop(self, done):\n"
        "    commit(self, done)\n"
        "    if done == 4: os._exit(9)\n"
        "w.Work.commit = stop\n"
        "from emoji_jax import command, sample\n"
        "command.run(sample.main)\n"
    )
    arguments = [f"--checkpoint={weights}", f"--ref={PORTRAIT}", "--config.sampler.steps=2"]
    killed = subprocess.run(
        [sys.executable, "-c", script, *arguments, *options, "--out=out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr
    assert (tmp_path / ".out.work").is_dir() and not (tmp_path / "out").exists()
    other = run(tmp_path, weights, *options, "--out=out", "--resume", "--seed=5")
    assert other.returncode == 2 and "without --resume" in other.stderr
    resumed = run(tmp_path, weights, *options, "--out=out", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    np.testing.assert_array_equal(
        read_video(tmp_path / "out")[0], read_video(tmp_path / "whole")[0]
    )
    assert {p.name for p in tmp_path.iterdir()} == {"out", "whole"}
