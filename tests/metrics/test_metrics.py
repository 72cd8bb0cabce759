import dataclasses

import numpy as np
import pytest

from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.metrics.l1 import l1
from emoji_jax.metrics.landmarks import STILL, correlation, error, signals
from emoji_jax.metrics.lpips import LPIPS

# What stlpips_pytorch 0.0.2 says of `pictures`, with torch 2.13.
RECORDED = [0.03645945340394974, 0.4597136378288269, 0.8015024662017822]


def pictures():
    rows, columns = np.mgrid[:64, :80] / 64
    a = np.stack([np.sin(7 * rows + 3 * k * columns) for k in range(3)], -1)
    b = np.stack([np.roll(a, 2, 1), a**2, -a])
    return [np.round(127.5 + 127.5 * x).astype(np.uint8) for x in (np.repeat(a[None], 3, 0), b)]


def test_l1():
    a, b = pictures()
    assert (l1(a, a) == 0).all()
    assert l1(a, 255 - a)[0] == pytest.approx(np.abs(2 * (a[0] / 255) - 1).mean())
    assert l1(a, b).shape == (3,)


@pytest.mark.network
def test_lpips_is_that_of_the_package():
    try:
        lpips = LPIPS()
    except UserError as missing:
        pytest.skip(str(missing))
    a, b = pictures()
    assert np.abs(lpips(a, a)).max() == 0
    np.testing.assert_allclose(lpips(a, b), RECORDED, rtol=1e-4)
    noise = np.random.default_rng(0).normal(0, 1, a.shape)
    noisier = [lpips(a, (a + s * noise).clip(0, 255).astype(np.uint8)).mean() for s in (5, 20, 80)]
    assert noisier == sorted(noisier)


def moving(name):
    return synthetic.motion(name, 24)


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("mouth_open", "mouth_opening"),
        ("blink", "eye_closing"),
        ("head_shake", "yaw"),
        ("gaze_left_right", "gaze_across"),
        ("gaze_up_down", "gaze_up"),
    ],
)
def test_each_signal_is_of_its_movement(name, signal):
    found = signals(moving(name))
    others = {k: v.std() / STILL[k] for k, v in found.items() if not k.startswith(signal[:4])}
    assert found[signal].std() > 2 * STILL[signal]
    assert max(others.values()) < found[signal].std() / STILL[signal]


def test_signs():
    def largest(name, signal):
        found = signals(moving(name))[signal]
        return found[np.abs(found - found[0]).argmax()] - found[0]

    assert largest("mouth_open", "mouth_opening") > 0
    assert largest("blink", "eye_closing") > 0


def test_a_turned_head_has_its_angles():
    still = moving("blink")[:1]
    turned = []
    for axis in range(3):
        angle = np.radians(10)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        rotation = np.eye(3)
        rotation[a, a] = rotation[b, b] = np.cos(angle)
        rotation[b, a], rotation[a, b] = np.sin(angle), -np.sin(angle)
        pose = np.eye(4, dtype=np.float32)[None]
        pose[0, :3, :3] = rotation
        found = signals(dataclasses.replace(still, pose=pose))
        turned.append([found[name][0] for name in ("pitch", "yaw", "roll")])
    np.testing.assert_allclose(turned, np.diag([-10, 10, 10]), atol=1e-4)


def test_error_is_in_distances_between_the_eyes():
    face = moving("smile")
    moved = dataclasses.replace(face, points=face.points + np.float32([0.01, 0, 0]))
    outer = np.linalg.norm(face.pixels[:, 33] - face.pixels[:, 263], axis=-1)
    assert (error(face, face) == 0).all()
    np.testing.assert_allclose(error(moved, face), 0.01 * face.size[1] / outer, rtol=1e-4)


def test_correlation():
    wave = np.sin(np.arange(20))
    assert correlation(2 * wave + 1, wave, 0.1) == pytest.approx(1)
    assert correlation(-wave, wave, 0.1) == pytest.approx(-1)
    assert correlation(np.zeros(20), wave, 0.1) == 0
    assert np.isnan(correlation(wave, 0.01 * wave, 0.1))
    assert np.isnan(correlation(wave[:2], wave[:2], 0.0))
