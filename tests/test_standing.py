"""What stands still is the portrait's own; what moves is the result's."""

import numpy as np

from emoji_jax.standing import keep_standing

RNG = np.random.default_rng(0)
PORTRAIT = RNG.integers(0, 256, (72, 72, 3), np.uint8)
DECODED = np.clip(PORTRAIT.astype(int) + RNG.integers(-40, 41, PORTRAIT.shape), 0, 255)
DECODED = DECODED.astype(np.uint8)


def test_what_does_not_move_is_the_portrait():
    kept = keep_standing(np.stack([DECODED, DECODED]), PORTRAIT, DECODED, 0.05)
    np.testing.assert_array_equal(kept, np.stack([PORTRAIT, PORTRAIT]))


def test_what_moves_is_the_result():
    moved = DECODED.copy()
    moved[20:50, 20:50] = 255 - moved[20:50, 20:50]
    kept = keep_standing(moved[None], PORTRAIT, DECODED, 0.05)[0]
    np.testing.assert_array_equal(kept[24:46, 24:46], moved[24:46, 24:46])
    np.testing.assert_array_equal(kept[:14], PORTRAIT[:14])
    # In between it passes from one to the other, and never beyond both.
    low, high = np.minimum(moved, PORTRAIT), np.maximum(moved, PORTRAIT)
    assert ((kept >= low) & (kept <= high)).all()


def test_the_more_is_kept_the_higher_the_threshold():
    frame = np.clip(DECODED.astype(int) + RNG.integers(-30, 31, DECODED.shape), 0, 255)
    frame = frame.astype(np.uint8)
    far = [
        np.abs(keep_standing(frame[None], PORTRAIT, DECODED, t)[0].astype(int) - PORTRAIT).mean()
        for t in (0.01, 0.035, 0.04, 0.1)
    ]
    assert far[0] > far[1] > far[2] > far[3] == 0
