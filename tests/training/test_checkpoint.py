"""Which checkpoints stay, and what belongs to them."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from emoji_jax.errors import UserError
from emoji_jax.training.checkpoint import RunCheckpoints
from emoji_jax.training.state import OptimiserConfig, TrainState, create


def state(step: int, value: float = 0.0) -> TrainState:
    parameters = {"unet.a": jnp.full(3, value), "vae.b": jnp.full(3, value)}
    made = create(parameters, ("unet.*",), OptimiserConfig(), 10)
    return dataclasses.replace(made, step=jnp.int32(step))


def saved(folder, values: dict[int, float | None], keep: int = 2) -> RunCheckpoints:
    checkpoints = RunCheckpoints(folder, keep)
    for step, loss in values.items():
        told = None if loss is None else {"validation_loss": loss}
        checkpoints.save(state(step, float(step)), None, told)
    checkpoints.wait()
    return checkpoints


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_newest_and_the_best_stay(tmp_path, bad):
    losses = {1: 0.5, 2: 0.1, 3: 0.3, 4: bad, 5: None, 6: 0.9, 7: 0.8}
    checkpoints = saved(tmp_path, losses)
    assert checkpoints.steps() == [2, 6, 7]
    restored = checkpoints.restore(state(0), None, 2)
    assert int(restored.step) == 2 and float(restored.trained["unet.a"][0]) == 2.0


def test_frozen_parameters_are_those_of_the_run(tmp_path):
    """Not those of one that began here and came to nothing."""
    failed = RunCheckpoints(tmp_path, 2)
    failed._save_frozen({"vae.b": jnp.full(3, -1.0)})
    failed.close()
    checkpoints = saved(tmp_path, {1: None, 2: None})
    restored = checkpoints.restore(state(0), None)
    np.testing.assert_array_equal(restored.frozen["vae.b"], np.ones(3))


def test_a_damaged_checkpoint_is_told(tmp_path):
    saved(tmp_path, {1: None, 2: None}).close()
    for path in (tmp_path / "checkpoints" / "2" / "state").rglob("*"):
        if path.is_file() and "manifest" in path.name:
            path.write_bytes(b"")
    checkpoints = RunCheckpoints(tmp_path, 2)
    with pytest.raises(UserError, match="step 2 is damaged or of another configuration"):
        checkpoints.restore(state(0), None)
    assert int(checkpoints.restore(state(0), None, 1).step) == 1
