"""What each of several devices does, and what they exchange: of compiled programs; nothing runs.

python benchmarks/devices.py --devices 1 2 8

The devices are XLA's fake ones, of one processor. The same work for any number of them: eight
stretches of frames with guidance, eight frames to decode, a training step of eight samples.
Arithmetic is what the compiler counts in the program of one device, which takes a loop once: the
sampler's steps are one.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8",
}

import batches
import jax
import memory
from step_time import collectives

from emoji_jax import compiled
from emoji_jax import config as config_file
from emoji_jax.models import convolution
from emoji_jax.models.emoji import PRESETS
from emoji_jax.training.run import Run

_MOST = 8  # as above
_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "other")


def main() -> None:
    """Compiles, and prints a row for each program and number of devices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="tiny")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--config", default=str(config_file.folder() / "tiny_stage1.py"))
    args = parser.parse_args()
    if odd := [n for n in args.devices if n < 1 or _MOST % n]:
        sys.exit(f"--devices has {odd[0]}; expected divisors of {_MOST}")
    compiled.remember()
    options = config_file.read(Path(args.config).name, beside=args.config)
    options.train.batch_size, options.data.workers = _MOST, 0
    print("| program | devices | GFLOP of each | " + " | ".join(f"{k}, MB" for k in _KINDS) + " |")
    print("|---" * (3 + len(_KINDS)) + "|")
    for count in args.devices:
        devices = jax.devices()[:count]
        with convolution.as_written():  # which form is fast hangs on how many there are
            found = dict(programs(args.preset, options, devices))
        for name, lowered in found.items():
            program = lowered.compile()
            moved = Counter()
            for one in collectives(program.as_text(), count):
                moved[one.kind if one.kind in _KINDS else "other"] += one.bytes / 1e6
            work = program.cost_analysis()["flops"] / 1e9
            cells = " | ".join(f"{moved[kind]:.4g}" for kind in _KINDS)
            print(f"| {name} | {count} | {work:.4g} | {cells} |", flush=True)


def programs(preset: str, options: Any, devices: list[jax.Device]) -> Iterator[tuple[str, Any]]:
    """Each program with its name, before it is compiled."""
    mesh = jax.sharding.Mesh(devices, ("data",)) if len(devices) > 1 else None
    sampling = memory.lower(preset, "float32", _MOST, _MOST, mesh)
    yield from ((name, sampling[name]) for name in ("landmarks", "denoising", "decoding"))
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(options, Path(workdir), devices)
    key = jax.eval_shape(lambda: jax.random.key(0))
    yield "training step", run.make_update().lower(run.shapes(), batches.shapes(run), key)


if __name__ == "__main__":
    main()
