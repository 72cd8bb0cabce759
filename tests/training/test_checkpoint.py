"""Which checkpoints stay, and what belongs to them."""

import dataclasses
import gc
import math
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emoji_jax.errors import UserError
from emoji_jax.training.checkpoint import RunCheckpoints, sums
from emoji_jax.training.state import OptimiserConfig, TrainState, create

# Of readers that Orbax began and, another one having failed, leaves alone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def no_rubbish():
    """Left for later, it would be collected where warnings count."""
    yield
    gc.collect()


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
    checkpoints.close()
    again = saved(tmp_path, {8: None, 9: 0.2})  # what was measured before is remembered
    assert again.steps() == [2, 8, 9]


def test_frozen_parameters_are_those_of_the_run(tmp_path):
    """Not those of one that began here and came to nothing."""
    failed = RunCheckpoints(tmp_path, 2)
    failed._save_frozen({"vae.b": jnp.full(3, -1.0)})
    failed.close()
    checkpoints = saved(tmp_path, {1: None, 2: None})
    restored = checkpoints.restore(state(0), None)
    np.testing.assert_array_equal(restored.frozen["vae.b"], np.ones(3))


def change(path: Path, how: str) -> None:
    """Damages a file."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "emptied":
        content.clear()
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def test_a_damaged_checkpoint_is_told(tmp_path):
    saved(tmp_path, {1: None, 2: None}).close()
    for path in files(tmp_path / "checkpoints" / "2" / "state"):
        if "manifest" in path.name:
            change(path, "emptied")
    checkpoints = RunCheckpoints(tmp_path, 2)
    with pytest.raises(UserError, match="step 2 is damaged or of another configuration"):
        checkpoints.restore(state(0), None)
    assert int(checkpoints.restore(state(0), None, 1).step) == 1


@pytest.mark.parametrize("how", ["cut", "emptied", "changed"])
def test_any_damage_is_noticed_and_the_one_before_is_taken(tmp_path, capsys, how):
    """Every file in turn, a single bit of it where it is only changed."""
    saved(tmp_path / "whole", {1: 0.5, 2: 0.4}).close()
    count = len(files(tmp_path / "whole" / "checkpoints" / "2"))
    noticed = 0
    for number in range(count):
        run = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", run)
        damaged = files(run / "checkpoints" / "2")[number]
        change(damaged, how)
        checkpoints = RunCheckpoints(run, 2)
        found = checkpoints.newest(state(0), None)
        values = np.asarray(found.trained["unet.a"])
        # Names that only tools for people read may change; numbers may not.
        np.testing.assert_array_equal(values, np.full(3, float(found.step)))
        said = capsys.readouterr().err
        if int(found.step) == 1:
            noticed += 1
            assert "step 2 is damaged" in said
            assert checkpoints.steps() == [1]
            assert [path.name[:2] for path in (run / "damaged").iterdir()] == ["2-"]
            checkpoints.save(state(2, 2.0), None, None)
            checkpoints.wait()
            assert checkpoints.steps() == [1, 2]
        checkpoints.close()
    assert noticed >= 2


def test_other_numbers_are_noticed(tmp_path, capsys):
    """As from a disk that returns what was never written, with every index as it should be."""
    saved(tmp_path, {1: None, 2: None}).close()
    other = saved(tmp_path / "other", {2: None})
    other.save(state(3, -1.0), None, None)
    other.wait()
    other.close()
    numbers = tmp_path / "checkpoints" / "2" / "state"
    shutil.rmtree(numbers)
    shutil.copytree(tmp_path / "other" / "checkpoints" / "3" / "state", numbers)
    assert int(RunCheckpoints(tmp_path, 2).newest(state(0), None).step) == 1
    assert "its numbers are not those that were saved" in capsys.readouterr().err


def test_what_all_fail_at_moves_none(tmp_path, monkeypatch):
    """A disk that is gone for a moment, another version of a library."""
    saved(tmp_path, {1: None, 2: None}).close()
    checkpoints = RunCheckpoints(tmp_path, 2)

    def fail(*_, **__):
        raise ValueError("no route to host")

    monkeypatch.setattr(checkpoints._manager, "restore", fail)
    with pytest.raises(UserError, match=r"step 2 is damaged .*: no route to host"):
        checkpoints.newest(state(0), None)
    assert checkpoints.steps() == [1, 2] and not (tmp_path / "damaged").exists()


def test_what_devices_fail_at_is_no_damage(tmp_path, monkeypatch):
    saved(tmp_path, {1: None, 2: None}).close()
    checkpoints = RunCheckpoints(tmp_path, 2)

    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(checkpoints._manager, "restore", fail)
    with pytest.raises(jax.errors.JaxRuntimeError):
        checkpoints.newest(state(0), None)
    assert checkpoints.steps() == [1, 2]


def test_the_only_checkpoint_stays_where_it_is(tmp_path):
    saved(tmp_path, {1: None}).close()
    for path in files(tmp_path / "checkpoints" / "1" / "state"):
        change(path, "emptied")
    with pytest.raises(UserError, match="step 1 is damaged"):
        RunCheckpoints(tmp_path, 2).newest(state(0), None)
    assert (tmp_path / "checkpoints" / "1").is_dir()


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_damaged_frozen_parameters_are_told_and_blame_no_checkpoint(tmp_path, how):
    saved(tmp_path, {1: None, 2: None}).close()
    for path in files(tmp_path / "frozen"):
        change(path, how)
    checkpoints = RunCheckpoints(tmp_path, 2)
    with pytest.raises(UserError, match="frozen, what is not trained, is damaged"):
        checkpoints.newest(state(0), None)
    assert checkpoints.steps() == [1, 2]


def test_sums_feel_every_bit_and_place():
    x = jnp.arange(12, dtype=jnp.float32).reshape(3, 4)
    flipped = x.view(jnp.int32).at[1, 2].set(x.view(jnp.int32)[1, 2] ^ 1).view(jnp.float32)
    found = sums([x, flipped, x[::-1], x.T, x.astype(jnp.bfloat16), jnp.int32(7)])
    assert len(set(found[:5])) == 5
    assert found == sums([x, flipped, x[::-1], x.T, x.astype(jnp.bfloat16), jnp.int32(7)])
