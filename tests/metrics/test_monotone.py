"""What is worse measures worse: noise, blur and delay, more and more of each."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFilter

from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.metrics.brisque import BRISQUE
from emoji_jax.metrics.fvd import FVD, frechet
from emoji_jax.metrics.identity import Identity
from emoji_jax.metrics.l1 import l1
from emoji_jax.metrics.landmarks import (
    accuracy,
    error,
    expression_error,
    gaze_error,
    jitter,
    pose_error,
)
from emoji_jax.metrics.lpips import LPIPS
from emoji_jax.metrics.ssim import ssim

LEVELS = (0, 1, 2, 3)
SIZE = 96


def clip(index, frames=16):
    return synthetic.clip(7, index * synthetic.CLIPS_PER_IDENTITY, frames, SIZE, style="shaded")


def noisier(frames, level):
    noise = np.random.default_rng(1).normal(0, (0, 6, 18, 54)[level], frames.shape)
    return (frames + noise).clip(0, 255).round().astype(np.uint8)


def blurred(frames, level):
    kernel = ImageFilter.GaussianBlur((0, 1, 2, 5)[level])
    return np.stack([np.asarray(Image.fromarray(f).filter(kernel)) for f in frames])


def delayed(frames, level):
    by = level  # not so much that a movement is back where it was
    return np.concatenate([np.repeat(frames[:1], by, 0), frames[: len(frames) - by]])


def assert_rises(values):
    assert all(a < b for a, b in itertools.pairwise(values)), values


def needed(metric):
    try:
        return metric()
    except UserError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("worse", [noisier, blurred, delayed])
def test_pictures(worse):
    frames, _ = clip(0)
    some = [worse(frames, level) for level in LEVELS]
    assert_rises([l1(x, frames).mean() for x in some])
    assert_rises([-ssim(x, frames).mean() for x in some])


@pytest.mark.network
@pytest.mark.parametrize("worse", [noisier, blurred, delayed])
def test_perceptual_distance(worse):
    lpips, (frames, _) = needed(LPIPS), clip(0)
    assert_rises([lpips(worse(frames, level), frames).mean() for level in LEVELS])


@pytest.mark.network
@pytest.mark.parametrize("worse", [noisier, blurred])
def test_quality(worse):
    brisque, (frames, _) = needed(BRISQUE), clip(0, 4)
    # It was made for photographs; a little noise makes a painted face more like one.
    found = [brisque(worse(frames, level)).mean() for level in (1, 3)]
    assert_rises(found)


@pytest.mark.network
@pytest.mark.parametrize("worse", [noisier, blurred])
def test_identity(worse):
    pytest.importorskip("onnx")
    identity, (frames, faces) = needed(Identity), clip(0, 4)
    own = identity(frames, faces)
    alike = [(own * identity(worse(frames, level), faces)).sum(-1).mean() for level in LEVELS]
    assert alike[0] == pytest.approx(1, abs=1e-5)
    assert_rises([-x for x in alike])
    others = identity(*clip(3, 4))
    assert (own * others).sum(-1).mean() < alike[1]


@pytest.mark.network
@pytest.mark.heavy
@pytest.mark.parametrize("worse", [noisier, blurred])
def test_videos(worse):
    fvd = needed(FVD)
    clips = [clip(i)[0] for i in range(4)]
    own = np.concatenate([fvd(x) for x in clips])
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that four are few
        for level in LEVELS:
            seen = np.concatenate([fvd(worse(x, level)) for x in clips])
            found.append(frechet(own, seen))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert_rises(found)


def test_landmarks():
    _, faces = clip(0, 32)
    for metric, sign in (
        (error, 1),
        (accuracy, -1),
        (expression_error, 1),
        (pose_error, 1),
        (gaze_error, 1),
    ):
        found = []
        for by in (0, 1, 3, 8):
            late = np.maximum(np.arange(32) - by, 0)
            found.append(sign * metric(faces[late], faces).mean())
        assert_rises(found)


def test_jitter():
    _, faces = clip(0, 32)
    rng, found = np.random.default_rng(0), []
    noise = rng.normal(0, 1, faces.points.shape).astype(np.float32)
    for strength in (0, 0.001, 0.003, 0.01):
        shaken = dataclasses.replace(faces, points=faces.points + strength * noise)
        found.append(np.nanmean(jitter(shaken)))
    assert_rises(found)
