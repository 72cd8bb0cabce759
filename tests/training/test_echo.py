"""Examples that are used several times, and training for a given time."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from emoji_jax import checkpoint
from emoji_jax.data.sources import Synthetic
from emoji_jax.data.transforms import ExampleConfig, example
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, Encoders, abstract, initialise
from emoji_jax.training import echo, sharding
from emoji_jax.training.autoencoder import standardised
from emoji_jax.training.state import OptimiserConfig, advance, create

ROOT = Path(__file__).parents[2]
KIND = echo.Kind(
    "frames", Synthetic(0, 0, 16, 4, 32), ExampleConfig(frames=2, size=32, clip_size=0)
)


@pytest.fixture
def place():
    return NamedSharding(sharding.mesh(1, jax.local_devices()[:1]), PartitionSpec())


def test_examples_are_made_and_the_newest_are_kept(tmp_path, place):
    pool = echo.Pool(tmp_path, KIND, 70, place)
    assert pool.capacity == 64 and pool.filled == 0
    with echo.makers([KIND], 1) as (folder, _):
        made = echo.Pool(folder, KIND, 32, place)
        for _ in range(600):
            if made.made:
                break
            made.take(1)
            time.sleep(0.1)
        assert made.filled == 32
        pictures = np.asarray(made.arrays["frames"])
        assert pictures.shape == (32, 2, 32, 32, 3) and pictures.std() > 10
    assert not folder.exists()
    one = example(KIND.source[0], np.random.default_rng(0), KIND.cfg)
    for number in range(3):
        chunk = {name: np.stack([np.full_like(x, number + 1)] * 32) for name, x in one.items()}
        np.savez(tmp_path / f"frames-0-{number}.npz", **chunk)
    pool.take(3)
    assert pool.filled == 64 and pool.made == 96
    found = np.asarray(pool.arrays["reference"])[:, 0, 0, 0]
    assert found.tolist() == [3] * 32 + [2] * 32


def test_what_ends_the_makers_is_told(tmp_path, place, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda _: None)  # of this process
    pool = echo.Pool(tmp_path, KIND, 32, place)
    broken = dataclasses.replace(KIND, source=[])
    echo.make([broken], tmp_path, 0)
    with pytest.raises(UserError, match="the input fails: "):
        pool.take()


def test_slowed_is_an_update_at_a_lower_rate():
    rng = np.random.default_rng(0)
    parameters = {name: jnp.asarray(rng.normal(size=(3, 2)), jnp.float32) for name in "ab"}
    gradients = jax.tree.map(lambda x: x**2, parameters)
    cfg = OptimiserConfig(learning_rate=1e-2, weight_decay=0.1, average=0.9)
    slower = dataclasses.replace(cfg, learning_rate=0.25e-2)
    ours = exact = create(parameters, ("*",), cfg, 10)
    for _ in range(3):
        ours = echo.slowed(ours, advance(ours, gradients, cfg, 10), 0.25, cfg.average)
        exact = advance(exact, gradients, slower, 10)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), ours, exact)
    assert int(ours.step) == 3


def test_a_loss_that_is_no_number_ends_a_training():
    part = SimpleNamespace(name="stage1", pool=SimpleNamespace(made=64))
    echo.Part._tell(part, {"loss": 1.0}, 25, 0.1)
    with pytest.raises(UserError, match="stage1: the loss is no number after 50 steps"):
        echo.Part._tell(part, {"loss": float("nan")}, 50, 0.1)


def test_a_standardised_autoencoder_decodes_to_the_same():
    cfg, rng = EmojiConfig.tiny(), np.random.default_rng(0)
    initial = checkpoint.flatten(initialise(cfg, seed=0, kind=Encoders))
    parameters = {n: np.asarray(x + 0.1 * rng.normal(size=x.shape)) for n, x in initial.items()}
    graph, shapes = abstract(cfg, None, Encoders)
    pictures = jnp.asarray(rng.uniform(-1, 1, (1, 32, 32, 3)), jnp.float32)

    def seen(parameters):
        arrays = {name: jnp.asarray(x, jnp.float32) for name, x in parameters.items()}
        vae = nnx.merge(graph, checkpoint.unflatten(shapes, arrays)).vae
        mean, logvar = vae.moments(pictures)
        return mean, logvar, vae.decode(mean * vae.scaling)

    before, after = seen(parameters), seen(standardised(parameters, 2.5))
    np.testing.assert_allclose(after[0], before[0] / 2.5, atol=1e-5)
    np.testing.assert_allclose(after[1], before[1] - 2 * np.log(2.5), atol=1e-5)
    np.testing.assert_allclose(after[2], before[2], atol=1e-4)


def one_gpu(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch" / "one_gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    "wrong", ["--seconds=1,2", "--batch=1,2,x", "--pool=0,1", "--weights=-1", "--sources=nowhere"]
)
def test_mistakes_are_told_in_one_line(tmp_path, wrong):
    done = one_gpu(f"--out={tmp_path}", wrong)
    named = "nowhere has no prepared clips" if "nowhere" in wrong else wrong.replace("=", " is ")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"error: {named}" in done.stderr


@pytest.mark.heavy
def test_all_three_trainings(tmp_path):
    small = ("--seconds=8,4,4", "--batch=2,2,2", "--pool=64,32", "--together=1", "--makers=1")
    done = one_gpu(f"--out={tmp_path}", f"--start={ROOT / 'emoji_jax/weights/tiny'}", *small)
    assert done.returncode == 0, done.stderr
    cfg = checkpoint.read_config(tmp_path / "stage2")
    assert cfg.unet.motion and (tmp_path / "stage2" / "unet").is_dir()
    losses = [line for line in done.stdout.splitlines() if "loss" in line]
    assert {line.split()[0] for line in losses} == {"vae", "stage1", "stage2"}
