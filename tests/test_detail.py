"""Where a result shows the moved portrait, it has its pixels; where it shows else, its own."""

import numpy as np

from emoji_jax.detail import restore

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
