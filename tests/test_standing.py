"""What stands still is the portrait's own; what moves, and the head, is the result's."""

import numpy as np

from emoji_jax.standing import keep_standing

RNG = np.random.default_rng(0)
PORTRAIT = RNG.integers(0, 256, (96, 96, 3), np.uint8)
DECODED = np.clip(PORTRAIT.astype(int) + RNG.integers(-40, 41, PORTRAIT.shape), 0, 255)
DECODED = DECODED.astype(np.uint8)
# Two faces in the same place, 20 pixels wide and high: the head takes 32, and its edge 8 more.
FACES = np.tile(RNG.uniform(0, 1, (478, 2)), (2, 1, 1))
FACES = 10 + 20 * (FACES - FACES.min(1, keepdims=True)) / np.ptp(FACES, 1)[:, None]


def kept(frame, threshold=0.05, faces=FACES):
    return keep_standing(frame, PORTRAIT, DECODED, faces, threshold)


def test_what_does_not_move_is_the_portrait_but_not_the_head():
    made = kept(DECODED)
    np.testing.assert_array_equal(made[42:], PORTRAIT[42:])
    np.testing.assert_array_equal(made[10:30, 10:30], DECODED[10:30, 10:30])
    # Nor where the head goes.
    there = np.stack([FACES[0], FACES[0] + 50])
    np.testing.assert_array_equal(kept(DECODED, faces=there)[60:80, 60:80], DECODED[60:80, 60:80])


def test_what_moves_is_the_result():
    moved = DECODED.copy()
    moved[50:80, 50:80] = 255 - moved[50:80, 50:80]
    made = kept(moved)
    np.testing.assert_array_equal(made[54:76, 54:76], moved[54:76, 54:76])
    np.testing.assert_array_equal(made[88:], PORTRAIT[88:])
    # In between it passes from one to the other, and never beyond both.
    low, high = np.minimum(moved, PORTRAIT), np.maximum(moved, PORTRAIT)
    assert ((made >= low) & (made <= high)).all()


def test_the_more_is_kept_the_higher_the_threshold():
    frame = np.clip(DECODED.astype(int) + RNG.integers(-30, 31, DECODED.shape), 0, 255)
    frame = frame.astype(np.uint8)
    far = [
        np.abs(kept(frame, t)[42:].astype(int) - PORTRAIT[42:]).mean()
        for t in (0.01, 0.035, 0.04, 0.1)
    ]
    assert far[0] > far[1] > far[2] > far[3] == 0
