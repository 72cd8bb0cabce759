"""The same step on one device and on eight, in processes of their own."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emoji_jax.training import sharding, step

SCRIPT = """
import json, sys
from pathlib import Path
from absl import flags
import jax
flags.FLAGS.mark_as_parsed()
from tests.training import small
from emoji_jax.training.run import Run
task, fsdp, accumulate, workdir = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
config = small.get_config(task)
config.mesh.fsdp, config.train.accumulate = fsdp, accumulate
config.train.steps, config.checkpoint.every = 3, 100
config.log.validate = 3
Run(config, Path(workdir)).train()
lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
trained = Run(config, Path(workdir)).state().trained
divided = [x for x in trained.values() if not x.sharding.is_fully_replicated]
large = [x for x in trained.values() if x.size >= 2**14 and any(n % fsdp == 0 for n in x.shape)]
numbers = {name: [line.get(name) for line in lines] for name in ("loss", "grad_norm")}
print(json.dumps({
    "devices": jax.device_count(), "divided": len(divided), "large": len(large), **numbers,
    "validation": lines[-1]["validation_loss"],
}))
"""


def run(tmp_path, task: str, devices: int, fsdp: int = 1, accumulate: int = 1) -> dict:
    name = f"{task}-{devices}-{fsdp}-{accumulate}"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, task, str(fsdp), str(accumulate), str(tmp_path / name)],
        env=os.environ
        | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.getcwd(),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert found["devices"] == devices
    return found


def quadratic(trained, frozen, batch, key):
    """A loss without random numbers."""
    examples = jnp.square(batch["x"] @ trained["w"] - frozen["b"]).mean(-1)
    return examples.mean(), {"examples": examples, "largest": batch["x"].mean()}


@pytest.mark.parametrize("count", [2, 4, 8])
def test_parts_add_up_to_the_batch(count):
    rng = np.random.default_rng(0)
    trained, frozen = ({name: jnp.asarray(rng.normal(size=(3, 5)))} for name in ("w", "b"))
    frozen = {"b": frozen["b"][0]}
    batch = {"x": jnp.asarray(rng.normal(size=(8, 3)))}
    arguments = (trained, frozen, batch, jax.random.key(0))
    mesh = sharding.mesh()
    whole, parts = (step.accumulated(quadratic, n, mesh)(*arguments) for n in (1, count))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert whole[1].keys() == parts[1].keys()


@pytest.mark.heavy  # every process compiles everything for itself
@pytest.mark.parametrize("task", ["stage1", "stage2"])
def test_devices_agree(tmp_path, task):
    one = run(tmp_path, task, 1)
    others = [run(tmp_path, task, 8), run(tmp_path, task, 8, fsdp=4)]
    if task == "stage2":
        others += [run(tmp_path, task, 2)]
    for other in others:
        for name in ("loss", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=2e-4), name
        assert other["validation"] == pytest.approx(one["validation"], rel=2e-4)
    assert one["divided"] == others[0]["divided"] == 0
    # Every large array lies on several devices, and nothing else does (stage 2 trains none here).
    assert others[1]["divided"] == others[1]["large"]
    assert others[1]["large"] > 0 or task == "stage2"


@pytest.mark.heavy
def test_accumulation_trains(tmp_path):
    parts = run(tmp_path, "stage1", 2, fsdp=2, accumulate=2)
    assert all(0 < x < 10 for x in parts["loss"])
