"""Every reader of a user's files gets damaged ones: a UserError or a result, and nothing else.

`pytest tests/fuzz` tries a few cases of each kind, `pytest --heavy tests/fuzz` thousands.
"""

import functools
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from PIL import Image

from emoji_jax import by_hand, pairs
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.images import read_image
from emoji_jax.landmarks import Landmarks
from emoji_jax.torch_file import TensorFile
from emoji_jax.video import open_video
from emoji_jax.video_writer import write_video
from tests.fuzz.cases import assert_all
from tests.release_folder import save_torch

# Of Pillow, which tells of damage that it reads over.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Of one case: what a reader may take, whatever its file says.
SECONDS, BYTES = 20, 2**30

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)


def drain(path: Path) -> list:
    return list(open_video(path))


def tensors(path: Path) -> list:
    return list(TensorFile(path).values())


def _picture(path: Path) -> None:
    Image.fromarray(PICTURES[0]).save(path)


def _moving(path: Path) -> None:
    write_video(path, iter(PICTURES), 25.0)


def _motion(path: Path) -> None:
    synthetic.motion("wink", 3).save(path)


def _template(path: Path) -> None:
    face = synthetic.motion("wink", 2)
    frames = [
        {
            "lmks": face.points[i],
            "lmks3d": face.vertices[i],
            "trans_mat": face.pose[i],
            "bs": face.blendshapes[i],
            "width": 64,
            "height": 64,
        }
        for i in range(2)
    ]
    np.save(path, np.array(frames, object), allow_pickle=True)


def _safetensors(path: Path) -> None:
    safetensors.numpy.save_file({"a.weight": np.ones((3, 2), np.float32)}, path)


def _torch(path: Path) -> None:
    save_torch(path, {"a.weight": np.ones((3, 2), np.float32)}, old=path.suffix == ".ckpt")


def _table(path: Path) -> None:
    path.write_text("ref,driving,out,controls.mouth\na.png,b.mp4,c.mp4,1.5\nd.png,e.mp4,,\n")


def _points(path: Path) -> None:
    path.write_text(json.dumps({"left_eye": [9, 9], "right_eye": [20, 9], "nose": [15, 20]}))


PORTRAIT = Path(__file__).parents[2] / "emoji_jax" / "examples" / "portrait.png"
# What is read, by the name of a file of its kind: who writes a good one, and who reads it.
READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "picture.png": (_picture, read_image),
    "picture.jpg": (_picture, read_image),
    "picture.webp": (_picture, read_image),
    "picture.tiff": (_picture, read_image),
    "video.mp4": (_moving, drain),
    "video.mkv": (_moving, drain),
    "video.webm": (_moving, drain),
    "video.gif": (_moving, drain),
    "motion.npz": (_motion, Landmarks.load),
    "motion.npy": (_template, Landmarks.load),
    "weights.safetensors": (_safetensors, tensors),
    "weights.pth": (_torch, tensors),
    "weights.ckpt": (_torch, tensors),
    "pairs.csv": (_table, lambda path: pairs.read_table(path, ".mp4")),
    "points.json": (_points, lambda path: by_hand.read(path, PORTRAIT)),
}


@functools.cache
def good(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / name
        READERS[name][0](path)
        return path.read_bytes()


class Content(bytes):
    """Which are not printed whole."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes, {hashlib.sha256(self).hexdigest()[:8]}"


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> Content:
    """A file with some bytes changed, cut out, or put in; or cut short; or other bytes entirely."""
    if draw(st.integers(0, 9)) == 0:
        return Content(draw(st.binary(max_size=200)))
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(made) - 1, 0)))
        kind = draw(st.sampled_from(("change", "remove", "insert", "cut", "repeat")))
        if kind == "change":
            new = draw(st.binary(min_size=1, max_size=8))
            made[at : at + len(new)] = new
        elif kind == "remove":
            del made[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            made[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "cut":
            del made[at:]
        else:
            made[at:at] = made[at : at + draw(st.integers(1, 64))]
    return Content(made)


def assert_survives(name: str, content: bytes) -> None:
    """Raises unless the reader returns, or tells the mistake, soon and in little memory."""
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / name
        path.write_bytes(content)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            READERS[name][1](path)
        except UserError as error:
            assert str(error).strip()
        assert time.monotonic() - start < SECONDS
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < BYTES


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(good(name))
    found = READERS[name][1](path)
    assert len(found) > 0  # pixels, frames, tensors, rows


def assert_all_survive(name: str, cases: int) -> None:
    assert_all(functools.partial(assert_survives, name), damaged(good(name)), cases)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name):
    assert_all_survive(name, 25)


@pytest.mark.heavy
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files(name):
    assert_all_survive(name, 500)
