"""Time, arithmetic and memory of a training step, and its share of what the device can do.

python benchmarks/train_step.py --config=configs/tiny_stage1.py
python benchmarks/train_step.py --config=configs/stage2.py --config.train.batch_size=4   (on a GPU)

The peak is that of a matrix product in the same dtype, measured in turns with the steps: steps are
compared with what the machine gives at that moment. Arithmetic is the model's, without what is
computed twice. On the CPU, a step with the compiler's own convolutions takes its turn, too.
Batches are of random numbers: time does not depend on them.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import batches
import jax
import jax.numpy as jnp
from absl import flags

from emoji_jax import command
from emoji_jax import config as config_file
from emoji_jax.models import convolution
from emoji_jax.training import settings, sharding, start
from emoji_jax.training.logs import peak_flops
from emoji_jax.training.run import Run
from emoji_jax.training.state import TrainState

_REPEATS = flags.DEFINE_integer("repeats", 5, "Turns.", 1)
_PROFILE = flags.DEFINE_string("profile", None, "Folder for a trace, for TensorBoard or Perfetto.")
_JSON = flags.DEFINE_bool("json", False, "End with a JSON object.")
_CONFIG = config_file.flag("tiny_stage1.py")


def main() -> None:
    """Measures and prints."""
    config = _CONFIG.value
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(config, Path(workdir), jax.devices())
    state, batch, key = _state(run), batches.random(run), jax.random.key(0)
    work = run._flops(state, batch, key)
    dtype = settings.compute(run.config, remat=False).dtype
    product, product_work = _product(dtype)
    steps = {"step": run.make_update().lower(state, batch, key).compile()}
    if jax.default_backend() == "cpu":
        with convolution.as_written():
            steps["step, XLA's convolutions"] = run.make_update().lower(state, batch, key).compile()
    memory = steps["step"].memory_analysis()
    seconds: dict[str, list[float]] = {name: [] for name in ("product", *steps)}
    for turn in range(_REPEATS.value + 1):
        seconds["product"].append(_timed(product))
        for name, update in steps.items():
            start_s = time.perf_counter()
            state, metrics = update(state, batch, key)
            jax.block_until_ready((state, metrics))
            seconds[name].append(time.perf_counter() - start_s)
        if not turn:  # the first is warming up
            seconds = {name: [] for name in seconds}
    if _PROFILE.value:
        with jax.profiler.trace(_PROFILE.value):
            jax.block_until_ready(steps["step"](state, batch, key))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    peak = product_work / medians.pop("product")
    told = {
        "what": f"{run.cfg.preset}, {run.config.train.frames} frames, batch of "
        f"{run.config.train.batch_size}, {jnp.dtype(dtype).name}",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "tflop": work / 1e12,
        "product_tflop_s": peak / 1e12,
        "promised_tflop_s": (peak_flops(jax.devices()[0]) or 0) / 1e12 or None,
        "seconds": medians,
        "share": {n: work / s / peak / jax.device_count() for n, s in medians.items()},
        "state_gb": sum(x.nbytes for x in jax.tree.leaves(state)) / 1e9,
        "temporary_gb": memory.temp_size_in_bytes / 1e9,
    }
    _report(told)
    if _JSON.value:
        print(json.dumps(told))


def _report(told: dict[str, Any]) -> None:
    print(f"{told['what']}; {told['device']}, {told['cores']} cores, jax {told['jax']}")
    print(
        f"{told['tflop']:.3f} TFLOP a step; matrix products: {told['product_tflop_s']:.3f} TFLOP/s"
        f"; state {told['state_gb']:.2f} GB, temporary {told['temporary_gb']:.2f} GB"
    )
    for name, value in told["seconds"].items():
        print(f"{name:25} {value:8.3f} s   {told['share'][name]:.0%} of matrix products' speed")


def _state(run: Run) -> TrainState:
    """Before the first step, of what the configuration starts from."""
    config = run.config
    flat = start.parameters(run.cfg, run.task.kind, config.start, config.seed)
    state = run._create(sharding.place(flat, run.mesh))
    return jax.tree.map(
        lambda x, like: x if x.ndim else jax.device_put(x, like.sharding), state, run.shapes()
    )


def _product(dtype: Any) -> tuple[Callable[[], Any], float]:
    """A large matrix product on one device, and its arithmetic."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = (jnp.full((size, size), 0.5, dtype) for _ in range(2))
    product = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32).astype(dtype))
    return lambda: jax.block_until_ready(product(a, b)), 2.0 * size**3


def _timed(function: Callable[[], Any]) -> float:
    """The best of a few: the peak."""
    best = float("inf")
    for _ in range(4):
        start_s = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start_s)
    return best


if __name__ == "__main__":
    command.run(main)
