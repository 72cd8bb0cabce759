import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from emoji_jax.errors import UserError
from emoji_jax.landmarks import Detector, Landmarks


class Scripted(Detector):
    """A detector that finds what it is told to: one list of points [478 3] per frame."""

    def __init__(self, *script):
        self.script = iter(script)

    def _find(self, image):
        faces = next(self.script)
        scores = [np.full(51, face[0, 0]) for face in faces]
        return (
            np.array(faces, np.float32).reshape(-1, 478, 3),
            np.array(scores, np.float32).reshape(-1, 51),
        )


def frames(count: int, interval: float = 1.0) -> list[tuple[np.ndarray, float]]:
    return [(np.zeros((448, 320, 3), np.uint8), i * interval) for i in range(count)]


def test_gaps_are_interpolated_and_ends_held(tall: Landmarks):
    a, b = tall.points[0], tall.points[0] + np.float32(0.03)
    done = []
    found, filled, _ = Scripted([], [a], [], [], [b], []).detect_video(
        frames(6, 0.1), progress=done.append
    )
    assert done == [1, 2, 3, 4, 5, 6]
    assert filled.tolist() == [0, 2, 3, 5]
    np.testing.assert_allclose(found.times, np.arange(6) / 10)
    expected = [a, a, a + 0.01, a + 0.02, b, b]
    np.testing.assert_allclose(found.points, expected, atol=1e-6)
    np.testing.assert_array_equal(found.points[[1, 4]], [a, b])
    np.testing.assert_allclose(found.pose[:2], tall.pose[[0, 0]], atol=2e-4)
    assert not np.allclose(found.pose[2], found.pose[1], atol=1e-2)


def test_long_gaps_are_errors(tall: Landmarks):
    face = tall.points[0]
    with pytest.raises(UserError, match=r"3 frames in a row, 1 to 3 \(0.10 s to 0.30 s\)"):
        Scripted([face], [], [], [], [face]).detect_video(frames(5, 0.1), max_gap=2)
    with pytest.raises(UserError, match="2 frames in a row, 0 to 1"):
        Scripted([], [], [face]).detect_video(frames(3), max_gap=1)
    with pytest.raises(UserError, match=r"any of the 2 frames \(0.00 s to 1.00 s\)"):
        Scripted([], []).detect_video(frames(2))


def test_one_face_is_followed(tall: Landmarks):
    left, right = tall.points[0], tall.points[0] + np.float32([0.5, 0, 0])
    found, _, crowded = Scripted([left, right], [right, left], [right]).detect_video(frames(3))
    np.testing.assert_array_equal(found.points, [left, left, left])
    assert crowded.tolist() == [0, 1]


def test_a_cut_is_no_gap(tall: Landmarks):
    """A lone face after a lone one is the next scene's; nothing is thrown away or made up."""
    here, there = tall.points[0], tall.points[0] + np.float32([0.5, 0, 0])
    found, filled, _ = Scripted(*[[here]] * 3, *[[there]] * 4).detect_video(frames(7))
    np.testing.assert_array_equal(found.points, [here] * 3 + [there] * 4)
    assert not len(filled)
    # Who stays alone when the one that is followed hides is somebody else.
    found, filled, _ = Scripted([here], [here, there], [there], [here]).detect_video(frames(4))
    np.testing.assert_allclose(found.points, [here] * 4, atol=1e-6)
    assert filled.tolist() == [2]


def test_video_arguments(tall: Landmarks):
    face = tall.points[0]
    with pytest.raises(UserError, match="no frames"):
        Scripted().detect_video([])
    with pytest.raises(UserError, match="frame 1 is 9x8, those before it are 320x448"):
        Scripted([face], [face]).detect_video([*frames(1), (np.zeros((8, 9, 3), np.uint8), 1.0)])


def test_detects_the_portrait(tall: Landmarks, photo: np.ndarray, model_path):
    with Detector(model_path) as detector:
        found = detector.detect(photo, time=2.5)
        assert found.size == (448, 320)
        assert found.times.tolist() == [2.5]
        np.testing.assert_allclose(found.pixels, tall.pixels, atol=1.0)  # it is a JPEG
        np.testing.assert_allclose(found.pose[:, :3, :3], tall.pose[:, :3, :3], atol=0.02)

        smaller = np.asarray(Image.fromarray(photo).resize((240, 336)))
        both = np.zeros((448, 560, 3), np.uint8)
        both[:336, :240], both[:, 240:] = smaller, photo
        largest, other = detector.detect_all(both)
        assert largest.pixels[0, :, 0].min() > 240 > other.pixels[0, :, 0].max()
        assert detector.detect(np.zeros_like(photo)) is None
        assert detector.detect_all(np.zeros_like(photo)) == []
        with pytest.raises(Exception, match=r"uint8|image"):  # type checks may come first
            detector.detect(photo / 255)


def test_pose_is_mediapipe_s_own(photo: np.ndarray, model_path):
    with Detector(model_path) as detector:
        found, mediapipe = detector.detect(photo), detector._mediapipe
    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=model_path),
        output_facial_transformation_matrixes=True,
    )
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=photo)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        pose = landmarker.detect(picture).facial_transformation_matrixes[0]
    np.testing.assert_allclose(found.pose[0, :3, :3], pose[:3, :3], atol=3e-6)
    np.testing.assert_allclose(found.pose[0, :3, 3], pose[:3, 3], atol=3e-4)


def test_models_that_cannot_be_read(tmp_path, model_path):
    with pytest.raises(UserError, match="No such file"):
        Detector(tmp_path / "missing.task")
    (tmp_path / "text.task").write_text("hello")
    with pytest.raises(UserError, match="cannot read the landmark model"):
        Detector(tmp_path / "text.task")


def test_starts_without_opencv_and_in_silence(model_path):
    program = (
        "import sys; from emoji_jax.landmarks import Detector\n"
        "with Detector(sys.argv[1]): pass\n"
        "assert 'jax' not in sys.modules\n"
        "print([m for m in sys.modules if m.startswith(('cv2', 'matplotlib', 'sounddevice'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, model_path], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""


def test_other_errors_still_reach_stderr(capfd):
    from emoji_jax.landmarks.detect import _without_chatter

    with _without_chatter():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n")
        os.write(2, b"E0000 something is wrong\n")
    assert capfd.readouterr().err == "E0000 something is wrong\n"


def test_a_detector_that_nobody_closed_can_be_collected():
    """In a circle of references, too, where MediaPipe's own way of closing waits for ever."""
    script = (
        "import gc\n"
        "from emoji_jax.landmarks import Detector\n"
        "detector = Detector()\n"
        "detector.circle = detector\n"
        "del detector\n"
        "gc.collect()\n"
        "kept = Detector()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], timeout=120, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
