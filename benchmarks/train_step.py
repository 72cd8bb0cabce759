"""Time, arithmetic and memory of a training step, and its share of what the device can do.

python benchmarks/train_step.py --config=configs/tiny_stage1.py
python benchmarks/train_step.py --config=configs/stage2.py --config.train.batch_size=4   (on a GPU)

The peak is that of a matrix product in the same dtype, measured in turns with the steps: steps are
compared with what the machine gives at that moment. Arithmetic is the model's, without what is
computed twice. On the CPU, a step with the compiler's own convolutions takes its turn, too.
Batches are of random numbers, and so are weights unless config.start names some: time does not
depend on them.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import batches
import drawn
import jax
import jax.numpy as jnp
import kernels
from absl import flags
from peak import Product

from emoji_jax import checkpoint, command
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
    """Measures and prints, each thing once it is known."""
    config = _CONFIG.value
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(config, Path(workdir), jax.devices())
    state, batch, key = _state(run), batches.random(run), jax.random.key(0)
    dtype = settings.compute(run.config, remat=False).dtype
    product, update = Product(dtype), run.make_update()
    begun = time.perf_counter()
    steps = {"step": update.lower(state, batch, key).compile()}
    print(f"compiled in {time.perf_counter() - begun:.1f} s", flush=True)
    if jax.default_backend() == "cpu":
        with convolution.as_written():
            steps["step, XLA's convolutions"] = update.lower(state, batch, key).compile()
    memory = steps["step"].memory_analysis()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for turn in range(_REPEATS.value + 1):
        rates.append(product.rate())
        for name, one in steps.items():
            begun = time.perf_counter()
            state, metrics = one(state, batch, key)
            jax.block_until_ready((state, metrics))
            seconds[name].append(time.perf_counter() - begun)
        if not turn:  # the first is warming up
            seconds, rates = {name: [] for name in seconds}, []
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(", ".join(f"{name} {value:.3f} s" for name, value in medians.items()), flush=True)
    work, peak = run._flops(state, batch, key), statistics.median(rates)
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
        print(json.dumps(told), flush=True)
    if _PROFILE.value:
        kept = {}

        def again() -> object:
            kept["state"], metrics = steps["step"](state, batch, key)  # takes the state's memory
            return kept["state"], metrics

        kernels.tell(_PROFILE.value, again)


def _report(told: dict[str, Any]) -> None:
    print(f"{told['what']}; {told['device']}, {told['cores']} cores, jax {told['jax']}")
    print(
        f"{told['tflop']:.3f} TFLOP a step; matrix products: {told['product_tflop_s']:.3f} TFLOP/s"
        f"; state {told['state_gb']:.2f} GB, temporary {told['temporary_gb']:.2f} GB"
    )
    for name, value in told["seconds"].items():
        share = f"{told['share'][name]:.0%} of matrix products' speed"
        print(f"{name:25} {value:8.3f} s   {share}", flush=True)


def _state(run: Run) -> TrainState:
    """Before the first step: of what the configuration starts from, or of any numbers."""
    config = run.config
    if config.start:
        flat = start.parameters(run.cfg, run.task.kind, config.start, config.seed)
    else:
        shapes = checkpoint.flatten(run._abstract[1])
        flat = {name: drawn.weights(name, x.shape) for name, x in shapes.items()}
    state = run._create(sharding.place(flat, run.mesh))
    return jax.tree.map(
        lambda x, like: x if x.ndim else jax.device_put(x, like.sharding), state, run.shapes()
    )


if __name__ == "__main__":
    command.run(main)
