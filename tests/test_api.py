"""The Python API as its documentation shows it."""

import ast
import doctest
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emoji_jax
from emoji_jax import animator
from emoji_jax.driver import expression
from emoji_jax.errors import UserError
from tests.conftest import PORTRAIT


def test_the_examples_in_the_docstrings(landmark_model, tmp_path, monkeypatch):
    shutil.copy(Path(emoji_jax.__file__).parent / "examples" / "portrait.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(animator)
    assert found.attempted > 5 and not found.failed
    made = [(tmp_path / name).read_bytes() for name in ("wink.mp4", "0.mp4", "1.mp4")]
    assert min(map(len, made)) > 1000 and made[1] != made[2]


def test_a_batch_has_a_motion_for_all_or_one_for_each(landmark_model):
    animator = emoji_jax.Animator.load()
    with pytest.raises(
        UserError, match="motions are 2, the portraits 3; expected one motion for all"
    ):
        animator.batch(["a.png"] * 3, ["expression:wink"] * 2)
    with pytest.raises(UserError, match="a single picture; expected a list"):
        animator.batch("a.png", "expression:wink")


def test_a_batch_is_made_as_one_by_one(landmark_model):
    """Two of two frames together, then one of three by itself, and in order."""
    animator = emoji_jax.Animator.load()
    portrait = emoji_jax.read_image(PORTRAIT)
    portraits = [portrait, portrait[:, ::-1], portrait]
    motions = [
        expression(name, frames) for name, frames in (("wink", 2), ("smile", 2), ("kiss", 3))
    ]
    told = []
    how = {"sampler": emoji_jax.SamplerConfig(steps=1, batch=3), "seed": 3}
    batch = animator.batch(portraits, motions, **how, progress=lambda *one: told.append(one))
    for together, *pair in zip(batch, portraits, motions, strict=True):
        alone = np.stack(list(animator(*pair, **how))).astype(int)
        assert np.abs(alone - np.stack(list(together))).max() <= 1
    assert sum(one == ("denoising", 1, 1) for one in told) == 2


def test_a_bad_portrait_of_a_batch_takes_none_of_those_before_it_along(landmark_model):
    animator = emoji_jax.Animator.load()
    one = emoji_jax.SamplerConfig(steps=1, batch=3)
    short = emoji_jax.MotionConfig(frames=2)
    batch = animator.batch([PORTRAIT, "nowhere.png"], "expression:wink", sampler=one, moving=short)
    assert len(list(next(batch))) == 2
    with pytest.raises(UserError, match=r"nowhere\.png"):
        next(batch)


def test_what_is_public_is_so_for_python_and_for_type_checkers():
    tree = ast.parse(Path(emoji_jax.__file__).read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.names]
    own = [node for node in imported if node.module.startswith("emoji_jax.")]
    told = {alias.name: node.module[len("emoji_jax.") :] for node in own for alias in node.names}
    assert told == emoji_jax._WHERE and {*told, "__version__"} == set(emoji_jax.__all__)
    assert all(getattr(emoji_jax, name) for name in told)


def test_importing_costs_nothing():
    """Nor does what every command begins with; how long that takes: docs/performance.md."""
    for module in ("emoji_jax", "emoji_jax.command"):
        code = f"import {module}, sys; assert not {{'jax', 'numpy', 'PIL'}} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_progress_is_told(landmark_model):
    told = []
    made = emoji_jax.Animator.load()(
        Path(emoji_jax.__file__).parent / "examples" / "portrait.png",
        "expression:wink",
        moving=emoji_jax.MotionConfig(frames=2),
        sampler=emoji_jax.SamplerConfig(steps=2),
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert len(list(made)) == 2
    assert ("denoising", 2, 2) in told and ("decoding", 2, 2) in told


def test_a_script_ends_in_silence(landmark_model):
    code = (
        "from emoji_jax import Animator; "
        "Animator.load().detector.detect(__import__('numpy').zeros((64, 64, 3), 'uint8'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exception ignored" not in told.stderr


# In a process of its own: here, a checker of types would be first.
_WRONG = """
import numpy as np
from emoji_jax import Animator, Controls, FramingConfig, MotionConfig, SamplerConfig, UserError
animator, wink = Animator.load(), "expression:wink"
grey = np.zeros((4, 64, 64, 3), np.float32)
def batch(*arguments):
    return list(animator.batch(*arguments))
for call, arguments, options in (
    (animator, (None, wink), {}),
    (animator, (PORTRAIT, 5), {}),
    (animator, (PORTRAIT, grey), {}),
    (animator, (PORTRAIT, wink), {"sampler": {"steps": 3}}),
    (animator, (PORTRAIT, wink), {"ref_landmarks": "face.npz"}),
    (animator, (PORTRAIT, wink), {"seed": True}),
    (animator, (PORTRAIT, wink), {"moving": MotionConfig(frames="8")}),
    (animator, (PORTRAIT, wink), {"moving": MotionConfig(controls=Controls(mouth="wide"))}),
    (animator, (PORTRAIT, wink), {"sampler": SamplerConfig(steps=2.5)}),
    (FramingConfig, (), {"paste": "no"}),
    (batch, (None, wink), {}),
    (batch, ((x for x in "ab"), (x for x in [wink])), {}),
    (Animator.load, (), {"size": 256}),
    (Animator.load, (), {"dtype": "float7"}),
    (Animator.load, (), {"dtype": "int32"}),
    (animator, (PORTRAIT, {"wink": 1}), {}),
    (Animator.load, (), {"attention": "flash"}),
):
    try:
        call(*arguments, **options)
        print("taken", options)
    except UserError as error:
        print(error)
"""
_SAID = """\
the portrait is of type NoneType; expected a file, uint8 [H, W, 3] or a picture of Pillow's
the motion is of type int; expected a file, expression:NAME, landmarks, or FRAMES
the motion is float32 [4, 64, 64, 3]; expected a file, expression:NAME, landmarks, or FRAMES
sampler is {'steps': 3}; expected a SamplerConfig
ref_landmarks is 'face.npz'; expected a Landmarks
the seed is True; expected a whole number
motion.frames is '8'; expected a whole number
controls.mouth is 'wide'; expected a number
sampler.steps is 2.5; expected a whole number
framing.paste is 'no'; expected True or False
portraits is of type NoneType; expected a list of pictures
the motions are 1, the portraits 2; expected one motion for all, or a list with one for each
size is 256; expected height and width, multiples of 8
dtype is 'float7'; expected one of 'float32', 'bfloat16', 'float16'
dtype is 'int32'; expected one of 'float32', 'bfloat16', 'float16'
the motion is of type dict; expected a file, expression:NAME, landmarks, or FRAMES
attention is 'flash'; expected one of 'auto', 'xla', 'chunked', 'merged', 'cudnn', 'splash'
"""


def test_arguments_of_other_types_are_told_in_one_line(landmark_model):
    code = f"PORTRAIT = {str(PORTRAIT)!r}\n{_WRONG}"
    frames = "a video's frames as uint8 [F, H, W, 3]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (_SAID.replace("FRAMES", frames), 0), done.stderr


def test_a_picture_of_pillows_that_is_damaged(landmark_model, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(PORTRAIT.read_bytes()[:9000])
    with (
        Image.open(tmp_path / "cut.jpg") as image,
        pytest.raises(UserError, match=r"the picture can't be read: .*; is it whole\?"),
    ):
        emoji_jax.Animator.load()(image, "expression:wink")


def test_pillows_pictures_and_a_videos_frames(landmark_model):
    """The same as of files."""
    animate = emoji_jax.Animator.load()
    picture = emoji_jax.read_image(PORTRAIT)
    frames = np.stack([np.roll(picture, 3 * i, axis=1) for i in range(4)])
    moving = emoji_jax.MotionConfig(frame_rate=8.0, end=0.375)
    with Image.open(PORTRAIT) as portrait:
        made = animate(portrait, frames, moving=moving)
    np.testing.assert_array_equal(made.picture, picture)
    np.testing.assert_allclose(made.times, [0, 0.125, 0.25])
    np.testing.assert_array_equal(
        made.motion.points[1], animate.detector.detect(frames[1]).points[0]
    )
