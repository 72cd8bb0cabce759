"""Where a result shows the moved portrait, it has its pixels; where it shows else, its own."""

import dataclasses

import numpy as np
import pytest

from emoji_jax.animation import detailed
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.detail import restore
from emoji_jax.drawn import Drawn
from emoji_jax.programs import Programs
from emoji_jax.sampling import SamplerConfig

RNG = np.random.default_rng(0)
MOVED = RNG.integers(0, 256, (2, 96, 96, 3), np.uint8)
DECODED = np.clip(MOVED.astype(int) + RNG.integers(-40, 41, MOVED.shape), 0, 255).astype(np.uint8)


def restored(frames, threshold=0.05):
    return restore(frames, MOVED, DECODED, threshold)


def test_what_shows_the_same_has_the_portraits_pixels():
    np.testing.assert_array_equal(restored(DECODED), MOVED)


def test_what_shows_something_else_stays():
    frames = DECODED.copy()
    frames[0, 50:80, 50:80] = 255 - frames[0, 50:80, 50:80]
    made = restored(frames)
    np.testing.assert_array_equal(made[0, 54:76, 54:76], frames[0, 54:76, 54:76])
    np.testing.assert_array_equal(made[0, 88:], MOVED[0, 88:])
    np.testing.assert_array_equal(made[1], MOVED[1])  # of another frame
    # In between it passes from one to the other, and never beyond both.
    low, high = np.minimum(frames, MOVED), np.maximum(frames, MOVED)
    assert ((made >= low) & (made <= high)).all()


def test_the_higher_the_threshold_the_more_is_restored():
    frames = np.clip(DECODED.astype(int) + RNG.integers(-30, 31, DECODED.shape), 0, 255)
    frames = frames.astype(np.uint8)
    far = [np.abs(restored(frames, t).astype(int) - MOVED).mean() for t in (0.01, 0.035, 0.04, 0.1)]
    assert far[0] > far[1] > far[2] > far[3] == 0


@pytest.fixture(scope="module")
def programs(weights) -> Programs:
    return Animator.load(weights).programs


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_frames_are_restored_in_batches(programs, batch):
    """Six of them, so that the last batch is not full; each by its own landmarks."""
    motion = synthetic.motion("laugh", 6)
    points = motion.pixels * 32 / np.array(motion.size[::-1])
    portrait = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    drawn = Drawn.to_fit(programs.cfg, points, (portrait, points[0]))
    frames = RNG.integers(0, 256, (6, 32, 32, 3), np.uint8)
    sampler = SamplerConfig(decode_batch=batch, keep=0.2)
    made = np.stack(list(detailed(programs, drawn, iter(frames), sampler)))
    moved = drawn.moved(np.arange(6))
    decoded = programs.reconstruct(moved.astype(np.float32) / 127.5 - 1)
    expected = restore(frames, moved, decoded, 0.2)
    np.testing.assert_allclose(made.astype(int), expected, atol=1)
    assert np.abs(expected.astype(int) - frames).mean() > 1
    nothing = dataclasses.replace(sampler, keep=0.0)
    np.testing.assert_array_equal(
        np.stack(list(detailed(programs, drawn, iter(frames), nothing))), frames
    )
