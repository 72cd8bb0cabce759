"""The command `python -m emoji_jax.sample`, from files to files, at a tiny random width."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from emoji_jax import command
from emoji_jax.animator import Animator
from emoji_jax.errors import UserError
from emoji_jax.landmarks import Landmarks
from emoji_jax.video import open_video, read_video
from emoji_jax.video_writer import VideoWriter
from tests.conftest import PORTRAIT
from tests.release_folder import write_release
from tests.test_video_writer import payloads, write_sound

ROOT = Path(__file__).parent.parent

_COUNT, _RATE = 5, 20.0
_ORIENTATION = 0x0112


pytestmark = pytest.mark.usefixtures("landmark_model")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from emoji_jax import convert

    root = tmp_path_factory.mktemp("weights")
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(release=str(write_release(root / "release")), out=str(root / "out")):
        convert.main()
    shutil.rmtree(root / "release")
    return root / "out"


def serve() -> None:
    """Runs the command again and again: a line of options in, exit code and what it said out.

    Not in the process of the tests, since other commands define flags of the same names.
    Checkpoints stay loaded, programs compiled.
    """
    from emoji_jax import sample

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)  # of ml_collections
    Animator.load = functools.cache(Animator.load)
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        sys.argv = ["sample", *json.loads(line)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = None
            try:
                with flagsaver.flagsaver():
                    command.run(sample.main)
            except SystemExit as stop:
                code = stop.code or 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            said = [file.seek(0) or file.read().decode() for file in (out, err)]
        print(json.dumps([code, *said]), file=replies, flush=True)


@pytest.fixture(scope="module")
def server():
    start = "import tests.conftest\nfrom tests.test_sample import serve\nserve()"
    with subprocess.Popen(
        [sys.executable, "-c", start],
        cwd=ROOT,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


def poses(count: int = _COUNT) -> list[np.ndarray]:
    """The portrait nodding, coming nearer."""
    with Image.open(PORTRAIT) as image:
        turned = [image.rotate(3 * i - 6, Image.Resampling.BILINEAR) for i in range(count)]
    crops = [image.crop((4 * i, 6 * i, 320 - 4 * i, 448 - 2 * i)) for i, image in enumerate(turned)]
    return [np.array(crop.resize((240, 320))) for crop in crops]


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder with the same driver in several forms."""
    root = tmp_path_factory.mktemp("media")
    frames = poses()
    sound = write_sound(root / "sound.mp4", _COUNT / _RATE)
    for name, audio in [("driver.mp4", sound), ("driver.webp", None), ("driver", None)]:
        with VideoWriter(root / name, (320, 240), _RATE, audio=audio) as writer:
            for frame in frames:
                writer.write(frame)
    return root


@pytest.fixture
def run(checkpoint, server):
    """Runs the command; returns exit code, stdout and lines of stderr."""

    def run(*options: str) -> tuple[int, str, list[str]]:
        small = [f"--checkpoint={checkpoint}", "--config.size=(64,64)", "--config.sampler.steps=1"]
        small += ["--config.framing.mode=letterbox", "--config.framing.paste=False"]
        print(json.dumps(_merged(small, options)), file=server.stdin, flush=True)
        code, out, err = json.loads(server.stdout.readline())
        return code, out, err.replace("\r", "\n").splitlines()

    return run


def _merged(defaults: list[str], options: tuple[str, ...]) -> list[str]:
    names = {option.split("=")[0] for option in options}
    # --config=FILE has to come before --config.OPTION
    first = [o for o in options if o.startswith("--config=")]
    rest = [o for o in options if o not in first]
    return [*first, *[d for d in defaults if d.split("=")[0] not in names], *rest]


@pytest.fixture
def animate(run, tmp_path, media):
    """Runs it successfully; returns frames, and what was said on stderr."""

    def animate(*options: str, out: str = "out") -> tuple[np.ndarray, list[str]]:
        given = {option.split("=")[0] for option in options}
        ref = [] if "--ref" in given else [f"--ref={PORTRAIT}"]
        driving = [] if "--driving" in given else [f"--driving={media / 'driver'}"]
        code, said, err = run(*ref, *driving, *options, f"--out={tmp_path / out}")
        assert code == 0, err
        frames, _ = read_video(tmp_path / out)
        assert said == f"{tmp_path / out}: {len(frames)} frame{'s' * (len(frames) != 1)}\n"
        return frames, err

    return animate


@pytest.fixture
def refused(run, tmp_path, media):
    """Runs it with a mistake; returns the message, after checking that there is just that."""

    def refused(*options: str) -> str:
        given = {option.split("=")[0] for option in options}
        options = (
            *([] if "--ref" in given else [f"--ref={PORTRAIT}"]),
            *([] if "--driving" in given else [f"--driving={media / 'driver.mp4'}"]),
            *([] if "--out" in given else [f"--out={tmp_path / 'result' / 'out.mp4'}"]),
            *options,
        )
        code, out, err = run(*options)
        assert (code, out) == (2, ""), err
        return _only_error(err, tmp_path)

    return refused


def _only_error(err: list[str], folder: Path) -> str:
    errors = [line for line in err if line.startswith("error: ")]
    known = ("error: ", "note: ", "detecting:", "denoising:", "decoding:", "fetching ")
    assert len(errors) == 1 and all(line.startswith(known) for line in err if line), err
    assert not list(folder.glob("result/*")) and not list(folder.rglob("*unfinished*"))
    return errors[0].removeprefix("error: ")


def in_own_process(*options: str, folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "emoji_jax.sample", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_video_with_sound_in_a_process_of_its_own(tmp_path, checkpoint, media):
    done = in_own_process(
        f"--ref={PORTRAIT}",
        f"--driving={media / 'driver.mp4'}",
        f"--checkpoint={checkpoint}",
        "--config.size=(64,72)",
        "--config.framing.mode=letterbox",
        "--config.framing.paste=False",
        "--config.sampler.steps=1",
        "--out=out.mp4",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.mp4: 5 frames\n"
    video = open_video(tmp_path / "out.mp4")
    frames, times = zip(*video, strict=True)
    assert len(frames) == video.length == _COUNT and frames[0].shape == (64, 72, 3)
    assert video.frame_rate == _RATE
    np.testing.assert_allclose(times, np.arange(_COUNT) / _RATE, atol=1e-3)
    found, expected = payloads(tmp_path / "out.mp4"), payloads(media / "driver.mp4")
    assert len(expected) - 2 <= len(found) and found == expected[: len(found)]
    bars = ("detecting", "denoising", "decoding")
    assert all(any(line.startswith(bar) for line in done.stderr.splitlines()) for bar in bars)
    assert [item.name for item in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--config.sampler.stepz=3", "no such option: .*stepz.* Did you mean .*steps"),
        ("--config.samplr.steps=3", "no such option: .*samplr"),
        ("--config.sampler.steps=abc", r"--config\.sampler\.steps=abc: invalid literal"),
        ("--ref=missing.png", "missing.png"),
    ],
)
def test_mistakes_in_options_in_a_process_of_its_own(tmp_path, option, said):
    done = in_own_process(option, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert_says(done.stderr, f"^error: .*{said}")


def assert_says(text: str, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern):
        raise UserError(text)


def test_forms_of_a_driver_and_of_a_result(animate, media):
    """A folder, an animated image, a video: in each, the same frames go in and come out."""
    lossless, _ = animate(out="png")
    assert lossless.shape == (_COUNT, 64, 64, 3) and np.ptp(lossless) > 0
    assert not np.array_equal(lossless[0], lossless[-1])
    animate(f"--driving={media / 'driver.webp'}", out="out.webp")
    _, rate = read_video(media / "driver.webp")
    assert rate == _RATE
    frames, _ = animate("--config.motion.frame_rate=12.5", out="out.mp4")
    assert np.abs(frames.astype(int) - lossless).mean() < 20


def test_rate_of_a_folder(animate, tmp_path):
    animate("--config.motion.frame_rate=12.5", out="out.mp4")
    assert open_video(tmp_path / "out.mp4").frame_rate == 12.5


def test_grid_puts_portrait_landmarks_and_result_side_by_side(animate):
    frames, _ = animate(out="plain")
    grid, _ = animate("--grid", out="grid")
    assert grid.shape == (_COUNT, 64, 3 * 64, 3)
    np.testing.assert_array_equal(grid[:, :, 128:], frames)
    assert np.all(grid[:, :, :64] == grid[0, :, :64]) and np.ptp(grid[0, :, :64]) > 100
    drawn = grid[:, :, 64:128]
    assert drawn.any(axis=(1, 2, 3)).all() and not np.array_equal(drawn[0], drawn[-1])


def test_landmarks_as_driver(animate, media, tmp_path):
    with sample_detector() as detector:
        found, _, _ = detector.detect_video(open_video(media / "driver"))
    found.save(tmp_path / "motion.npz")
    assert len(Landmarks.load(tmp_path / "motion.npz")) == _COUNT
    frames, _ = animate(out="direct")
    again, _ = animate(f"--driving={tmp_path / 'motion.npz'}", out="saved")
    np.testing.assert_array_equal(again, frames)


def sample_detector():
    from emoji_jax.landmarks import Detector

    return Detector()


def test_seeds_and_windows(animate):
    """With windows of two frames: each seed makes its own, and always the same, video."""
    short = ("--config.sampler.frames=2", "--config.sampler.overlap=1")
    a, _ = animate(*short, "--seed=1", out="a")
    b, _ = animate(*short, "--config.seed=1", out="b")
    c, _ = animate(*short, "--seed=2", out="c")
    assert len(a) == _COUNT
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.1


def test_as_released_drops_the_first_frame(animate):
    frames, _ = animate("--config.motion.compat=release", "--config.sampler.frames=5")
    assert len(frames) == _COUNT - 1


def test_still_picture_as_driver_and_limit(animate):
    frames, _ = animate(f"--driving={PORTRAIT}", out="still")
    assert len(frames) == 1
    limited, _ = animate("--frames=1", out="limited")
    assert len(limited) == 1


def disguised(kind: str, folder: Path) -> Path:
    """The portrait as another kind of picture."""
    with Image.open(PORTRAIT) as image:
        image.load()
    path = folder / f"{kind}.{'jpg' if kind in ('cmyk', 'exif') else 'png'}"
    if kind == "grey":
        image.convert("L").save(path)
    elif kind == "rgba":
        image.convert("RGBA").save(path)
    elif kind == "cmyk":
        image.convert("CMYK").save(path, quality=95)
    elif kind == "deep":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        exif = Image.Exif()
        exif[_ORIENTATION] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    return path


@pytest.mark.parametrize("kind", ["grey", "rgba", "cmyk", "deep", "exif"])
def test_portraits_of_all_kinds(animate, tmp_path, kind):
    grid, _ = animate(f"--ref={disguised(kind, tmp_path)}", "--grid", "--frames=1")
    expected, _ = animate("--grid", "--frames=1", out="expected")
    seen, original = grid[0, :, :64].astype(int), expected[0, :, :64].astype(int)
    if kind in ("grey", "deep"):
        seen, original = seen.mean(-1), original @ [0.299, 0.587, 0.114]
    assert np.abs(seen - original).mean() < 4


def test_several_faces(checkpoint, tmp_path):
    """The largest is animated, and that is told."""
    with Image.open(PORTRAIT) as image:
        both = Image.new("RGB", (512, 512))
        face = image.crop((60, 20, 260, 260))
        both.paste(face.resize((200, 240)), (0, 140))
        both.paste(face.resize((300, 360)), (212, 60))
    animation = Animator.load(checkpoint, size=(512, 512))(np.array(both), PORTRAIT)
    assert animation.notes == ("the portrait shows 2 faces; the largest is animated",)
    assert animation.actors[0].pictures.points[np.array([0])][0, :, 0].mean() > 250


def test_short_gap_is_filled_in_and_told(animate, tmp_path):
    folder = tmp_path / "gap"
    with VideoWriter(folder, (320, 240), 20.0) as writer:
        for i, frame in enumerate(poses()):
            writer.write(frame if i not in (1, 2) else np.zeros_like(frame))
    frames, err = animate(f"--driving={folder}")
    assert len(frames) == _COUNT
    (note,) = [line for line in err if line.startswith("note: ")]
    assert "no face in 2 of 5 frames, filled in from their neighbours (1-2)" in note


def test_long_gap(refused, tmp_path):
    folder = tmp_path / "gap"
    with VideoWriter(folder, (320, 240), 20.0) as writer:
        for i, frame in enumerate(poses()):
            writer.write(frame if i in (0, 4) else np.zeros_like(frame))
    said = refused(f"--driving={folder}", "--config.motion.max_gap=2")
    assert "no face found in 3 frames in a row, 1 to 3" in said


def test_one_frame_is_too_few_as_released(refused):
    said = refused(f"--driving={PORTRAIT}", "--config.motion.compat=release")
    assert "one is too few" in said


@pytest.mark.parametrize("role", ["ref", "driving"])
@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut"])
def test_unreadable_files(refused, tmp_path, media, role, kind):
    path = tmp_path / ("in.jpg" if role == "ref" else "in.mp4")
    whole = (PORTRAIT if role == "ref" else media / "driver.mp4").read_bytes()
    content = {"empty": b"", "text": b"Dear diary,\n" * 9, "cut": whole[: len(whole) // 2]}
    if kind != "missing":
        path.write_bytes(content[kind])
    assert str(path) in refused(f"--{role}={path}")


def test_damage_late_in_a_video(refused, tmp_path):
    """It is found while landmarks are, before anything is written."""
    for i, frame in enumerate(poses(3)):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:5000])
    assert "2.png can't be read" in refused(f"--driving={tmp_path}")


def test_no_face(refused, tmp_path):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "wall.png")
    assert "no face was found in" in refused(f"--ref={tmp_path / 'wall.png'}")
    said = refused(f"--driving={tmp_path / 'wall.png'}")
    assert said.endswith(": no face found")


def test_sound_without_pictures(refused, media, tmp_path):
    with av.open(str(tmp_path / "a.mka"), "w") as out, av.open(str(media / "driver.mp4")) as source:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert "holds no moving pictures" in refused(f"--driving={tmp_path / 'a.mka'}")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--config.size=(60,64)", r"size is \(60, 64\); expected height and width, multiples of 8"),
        ("--config.size=(64,)", r"size is \(64,\); expected height and width"),
        ("--config.size=(0,64)", r"size is \(0, 64\); expected height and width"),
        ("--config.size=(64,'a')", r"size is \(64, 'a'\); expected height and width"),
        ("--config.sampler.stepz=3", "no such option: .*stepz"),
        ("--config.sampler.steps=-1", "sampler.steps is -1; expected 1 to 1000, or 0"),
        ("--config.sampler.steps=2.5", "invalid literal for int"),
        ("--config.sampler.name=euler", "sampler.name is 'euler'; expected one of ddim"),
        ("--config.sampler.name=lcm", "'lcm', which is for distilled checkpoints .* one of ddim"),
        ("--config.sampler.guidance_scale=nan", "sampler.guidance_scale is nan; expected a number"),
        ("--config.sampler.frames=99", "sampler.frames is 99; expected 1 to 32"),
        ("--config.sampler.decode_batch=0", "decode_batch 1 or more"),
        ("--config.dtype=int8", "dtype is 'int8'; expected one of 'float32'"),
        ("--config.attention=flash", "attention is 'flash'; expected one of 'auto'"),
        ("--config.motion.compat=maybe", "motion.compat is 'maybe'"),
        ("--config.motion.head_pose=left", "motion.head_pose is 'left'"),
        ("--config.motion.neutral=first", "motion.neutral is 'first'"),
        ("--config.motion.neutral=5", "motion.neutral is 5; the driver has frames 0 to 4"),
        ("--config.motion.neutral=-1", "motion.neutral is '-1'"),
        ("--config.motion.max_gap=-1", "motion.max_gap is -1; expected 0 or more"),
        ("--config.motion.frame_rate=0", "motion.frame_rate is 0.0; expected 0.01 to 1000"),
        ("--config.motion.frames=-2", "motion.frames is -2; expected 1 or more"),
        ("--frames=0", "--frames=0: 0 is not a positive integer"),
        ("--seed=one", "--seed=one: invalid literal for int"),
        ("--steps=3", "Unknown command line flag 'steps'"),
        ("--checkpoint=nowhere", "there is no checkpoint nowhere"),
        ("--out=out.avi", r"out\.avi has the suffix \.avi; expected \.mp4"),
    ],
)
def test_settings_that_can_not_work(refused, option, said):
    assert_says(refused(option), said)


def test_missing_inputs_and_stray_arguments(run, tmp_path):
    code, _, err = run("--ref=", f"--out={tmp_path / 'out.mp4'}")
    assert code == 2 and _only_error(err, tmp_path)
    code, _, err = run("portrait.png")
    assert code == 2 and "unexpected argument 'portrait.png'" in _only_error(err, tmp_path)


def test_foreign_checkpoint(refused, tmp_path):
    assert "is no checkpoint: it has no config.json" in refused(f"--checkpoint={tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    assert "not a configuration of this version" in refused(f"--checkpoint={tmp_path}")
    (tmp_path / "checkpoints").mkdir()
    assert "is a training run that has not ended" in refused(f"--checkpoint={tmp_path}")


def test_places_that_can_not_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("a file")
    assert "is not a folder" in refused(f"--out={tmp_path / 'file' / 'out.mp4'}")
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder already" in refused(f"--out={tmp_path / 'folder.mp4'}")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"--config names a file that can't be read: .*No such file"),
        ("def get_config(:\n", r"the configuration file fails: SyntaxError.*line 1"),
        ("import no_such_module_here\n", "the configuration file fails: ModuleNotFoundError"),
        ("def get_config():\n    return 1 + None\n", "the configuration file fails: TypeError"),
        ("def get_config():\n    return {}['x']\n", "x"),
    ],
)
def test_configuration_files_that_fail(refused, tmp_path, content, said):
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    assert_says(refused(f"--config={tmp_path / 'mine.py'}"), said)


def test_configuration_file_of_ones_own(animate, tmp_path):
    base = ROOT / "configs" / "sample.py"
    (tmp_path / "mine.py").write_text(
        "from emoji_jax import config as config_file\n"
        f"BASE = {str(base)!r}\n"
        "def get_config():\n"
        "    config = config_file.read('sample.py', beside=BASE)\n"
        "    config.motion.frames = 1\n"
        "    return config\n"
    )
    frames, _ = animate(f"--config={tmp_path / 'mine.py'}")
    assert len(frames) == 1


def test_built_in_expression_as_driver(animate):
    frames, _ = animate("--driving=expression:wink", f"--frames={_COUNT}", out="wink")
    assert len(frames) == _COUNT


def test_warming_up_compiles_what_is_asked_for(weights, tmp_path):
    """And makes nothing; the same command after it finds every program."""
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "emoji_jax.sample", f"--out={tmp_path / 'out.mp4'}"]
    command += [f"--checkpoint={weights}", "--frames=6", "--config.sampler.frames=3"]
    command += ["--config.sampler.steps=1"]
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def kept(*flags: str) -> set[str]:
        subprocess.run([*command, *flags], env=environment, cwd=ROOT, check=True)
        return {path.name for path in cache.iterdir() if not path.name.endswith("-atime")}

    first = kept("--warm")
    assert len(first) > 5 and not (tmp_path / "out.mp4").exists()
    assert kept() == first and (tmp_path / "out.mp4").exists()


def test_warming_up_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").touch()
    for place, said in (("", "is empty"), (str(tmp_path / "file"), "can't be written")):
        done = subprocess.run(
            [sys.executable, "-m", "emoji_jax.sample", "--warm"],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": place},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
