import numpy as np
import pytest

from emoji_jax.data.tracking import TrackConfig, Tracker
from emoji_jax.errors import UserError
from tests.data import media

DARK, LIGHT = (np.full((448, 320, 3), value, np.uint8) for value in (20, 200))
A, B = media.moved(scale=0.4), media.moved(scale=0.4, shift=(0.5, 0.4))
SMALL = media.moved(scale=0.1, shift=(0.8, 0.8))


def track(script, pictures=None, separate=False, **options):
    """Tracks in a video whose frames have the given faces, and what was dropped."""
    pictures = pictures or [DARK] * len(script)
    faces = iter(script)
    config = TrackConfig(**{"min_frames": 2, "max_frames": 100, **options})
    video = ((picture, i / 10) for i, picture in enumerate(pictures))
    tracker = Tracker(video, lambda _: next(faces), config, separate=separate)
    tracks = list(tracker)
    assert tracker.frames == len(script)
    assert sum(map(len, tracks)) + sum(tracker.dropped.values()) == len(script)
    return tracks, {reason: n for reason, n in tracker.dropped.items() if n}


def spans(tracks) -> list[tuple[int, int]]:
    """First frames and lengths of tracks without gaps."""
    for track in tracks:
        assert track.numbers == tuple(range(track.numbers[0], track.numbers[-1] + 1))
    return [(track.numbers[0], len(track)) for track in tracks]


def test_short_gaps_are_filled_and_long_ones_divide():
    near = media.moved(scale=0.4, shift=(0.03, 0))
    (first, second), dropped = track([[], [A], [], [], [near], [], [], [], [A], [A], []], max_gap=2)
    assert spans([first, second]) == [(1, 4), (8, 2)]
    assert first.detected.tolist() == [True, False, False, True]
    np.testing.assert_allclose(first.points[1], A.points[0] + [0.01, 0, 0], atol=1e-6)
    np.testing.assert_allclose(first.times, [0.1, 0.2, 0.3, 0.4])
    assert dropped == {"no face": 5}


def test_jumps_of_place_size_and_picture_divide():
    assert spans(track([[A]] * 3 + [[B]] * 3)[0]) == [(0, 3), (3, 3)]
    assert spans(track([[A]] * 3 + [[media.moved(scale=0.6)]] * 3)[0]) == [(0, 3), (3, 3)]
    found, _ = track([[A]] * 6, [DARK] * 2 + [LIGHT] * 4)
    assert spans(found) == [(0, 2), (2, 4)]


def test_lengths():
    tracks, dropped = track([[A]] * 3 + [[B]] + [[A]] * 2, min_frames=3)
    assert spans(tracks) == [(0, 3)] and dropped == {"too short": 3}
    assert spans(track([[A]] * 27, min_frames=4, max_frames=8)[0]) == [
        *((0, 8), (8, 8)),
        *((16, 5), (21, 6)),
    ]
    assert spans(track([[A]] * 11, min_frames=6, max_frames=8)[0]) == [(0, 8)]


def test_several_faces():
    both = [[A, B], [B, A], [A, B, SMALL]]
    (one,), _ = track(both)
    np.testing.assert_array_equal(one.points, np.repeat(A.points, 3, axis=0))
    tracks, dropped = track(both, several="reject")
    assert not tracks and dropped == {"several faces": 3}
    # A face far behind does not count, nor one that is found twice.
    assert len(track([[A, A, SMALL]] * 3, several="reject")[0]) == 1
    with pytest.raises(UserError, match="largest or reject"):
        TrackConfig(several="all")


def test_separate_pictures():
    pictures = [DARK, LIGHT] * 5
    script = [[B], [A], [], [A], [], [], [A, B], [A], [], [A]]
    (one,), dropped = track(script, pictures, separate=True, max_gap=0)
    assert one.numbers == (1, 3, 6, 7, 9) and one.detected.all()
    np.testing.assert_allclose(one.times, [0.1, 0.3, 0.6, 0.7, 0.9])
    assert dropped == {"no face": 4, "another face": 1}
    tracks, _ = track([[A]] * 27, separate=True, min_frames=4, max_frames=8)
    assert spans(tracks) == [(0, 8), (8, 8), (16, 5), (21, 6)]


def test_nothing():
    assert track([[], []]) == ([], {"no face": 2})
    assert track([[], []], separate=True) == ([], {"no face": 2})
