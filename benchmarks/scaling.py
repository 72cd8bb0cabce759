"""Compiles the whole system for TPU slices that are not there, and says what a step would take.

python benchmarks/scaling.py --topology=v5p:2x2x2 --config=configs/stage1.py --out=scaling.jsonl
python benchmarks/scaling.py --topology=v5e:4x8 --what=sample --config=configs/sample.py
python benchmarks/scaling.py --table=scaling.jsonl

The first two take libtpu (`pip install 'emoji_jax[tpu,train]'`), which compiles for a slice on any
machine: bytes per device, arithmetic and collectives are those of the program that a TPU would run,
and nothing runs. `--batch` is of each device. The third computes times from them: see `step_time`.
"""

import dataclasses
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Nothing asks the machine itself for a TPU.
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "none"}

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from jax.sharding import NamedSharding, PartitionSpec

from emoji_jax import config as config_file
from emoji_jax import diffusion
from emoji_jax.models.emoji import PRESETS, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.programs import Programs
from emoji_jax.training import flops, sharding, step
from emoji_jax.training.run import Run

_GIB = 2**30

_TOPOLOGY = flags.DEFINE_string("topology", None, "Kind and shape of a slice: v5e:2x4, v5p:2x2x2.")
_WHAT = flags.DEFINE_enum("what", "train", ["train", "sample"], "A training step, or a clip.")
_BATCH = flags.DEFINE_integer("batch", 4, "Samples (or clips) of each device.", 1)
_OUT = flags.DEFINE_string("out", None, "File that a line of JSON is added to.")
_TABLE = flags.DEFINE_string("table", None, "File of such lines, to print as tables.")
_CONFIG = config_file.flag("stage1.py")


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a maker promises of a chip: operations (bf16) and bytes in a second.

    Attributes:
      peak: of matrix products.
      memory: bandwidth of its own memory.
      capacity: bytes of that.
      link: bandwidth into it along one axis of the torus, if that is a ring.
      ring: shortest axis that is one; shorter ones are lines, of half the bandwidth.
    """

    peak: float
    memory: float
    capacity: float
    link: float
    ring: int


# From "How to Scale Your Model" (jax-ml.github.io/scaling-book), table of TPU specifications.
CHIPS = {
    "v5e": Chip(197e12, 8.1e11, 16 * _GIB, 9e10, 16),
    "v5p": Chip(459e12, 2.8e12, 95 * _GIB, 1.8e11, 4),
    "v6e": Chip(918e12, 1.6e12, 32 * _GIB, 1.8e11, 16),
}
# Part of the peak that is reached, and seconds to the next chip: assumed.
_REACHED, _HOP = 0.5, 1e-6

_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
_COLLECTIVE = re.compile(
    r"= (?P<shape>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|ragged-all-to-all)(-start)?\("
)
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_GROUPS = re.compile(r"replica_groups=(?:\[(\d+),(\d+)\]|\{\{([\d,]+)\})")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Data that devices exchange at one place of a program.

    Attributes:
      kind: as XLA calls it.
      bytes: of the whole array on one device: summed, gathered, or before it is scattered.
      devices: how many take part in a group.
    """

    kind: str
    bytes: int
    devices: int


def collectives(program: str, devices: int) -> Iterator[Collective]:
    """Those of a compiled program's text, one for each place; loops count once."""
    for line in program.splitlines():
        if not (found := _COLLECTIVE.search(line)):
            continue
        sizes = [
            _SIZES.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n)
            for kind, shape in _ARRAY.findall(found["shape"])
        ]
        groups, kind = _GROUPS.search(line), found["kind"]
        part = devices
        if groups:
            part = int(groups[2]) if groups[2] else len(groups[3].split(","))
        # One that is begun here names what goes in and what comes out.
        whole = max(sizes) if found[3] else sum(sizes)
        yield Collective(kind, whole * (part if kind == "reduce-scatter" else 1), part)


def slice_devices(topology: str) -> list[jax.Device]:
    """The devices of a slice, of which only a compiler needs to know."""
    from jax.experimental import topologies

    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)


def training_step(devices: list[jax.Device]) -> tuple[Any, dict[str, Any]]:
    """A step to compile, and what it is: `work` is `flops` and what is computed twice."""
    config = _CONFIG.value
    config.train.batch_size = _BATCH.value * len(devices)
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(config, Path(workdir), devices)
    train, state = run.config.train, run.shapes()
    update = step.make(
        run.objective, run.optimiser, run.mesh, steps=train.steps, accumulate=train.accumulate
    )
    batch, key = _batch(run), jax.eval_shape(lambda: jax.random.key(0))
    told = {
        "mesh": dict(run.mesh.shape),
        "frames": train.frames,
        "accumulate": train.accumulate,
        "trained": sum(x.size for x in state.trained.values()),
        "frozen": sum(x.size for x in state.frozen.values()),
    }
    gradient = jax.value_and_grad(run.objective, has_aux=True)
    part = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(x) // train.accumulate, *x.shape[1:]), x.dtype), batch
    )
    told["work"] = (
        train.accumulate
        / len(devices)
        * flops.count(gradient, state.trained, state.frozen, part, key)
    )
    told["flops"] = run._flops(state, batch, key) / len(devices)
    return update.lower(state, batch, key), told


def _batch(run: Run) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch as shapes, as `pipeline.batches` makes it."""
    count, frames = run.config.train.batch_size, run.config.train.frames
    (side, _), factor, pixels = run.cfg.size, run.cfg.vae.factor, run.cfg.clip.image_size
    picture, mask = (side, side, 3), (side // factor, side // factor, 1)
    shapes = {
        "frames": ((frames, *picture), jnp.uint8),
        "reference": (picture, jnp.uint8),
        "clip_pixels": ((pixels, pixels, 3), jnp.float32),
        "landmarks": ((frames, side, side, 6 if run.cfg.warped else 3), jnp.uint8),
        "expression_mask": ((frames, *mask), jnp.uint8),
        "face_mask": ((frames, *mask), jnp.uint8),
    }
    place = NamedSharding(run.mesh, sharding.BATCH)
    return {
        name: jax.ShapeDtypeStruct((count, *shape), dtype, sharding=place)
        for name, (shape, dtype) in shapes.items()
    }


def sampled_clip(devices: list[jax.Device]) -> tuple[Any, dict[str, Any]]:
    """One step of the sampler with guidance on a clip of each device: as `training_step`."""
    mesh = jax.make_mesh((len(devices),), ("data",), devices=devices)
    cfg, config = PRESETS["paper"](), _CONFIG.value
    compute = Compute(jnp.dtype(config.dtype), config.attention)
    graph, shapes = abstract(cfg, compute)
    everywhere, spread = (NamedSharding(mesh, s) for s in (PartitionSpec(), PartitionSpec("data")))
    place = lambda tree, where: jax.tree.map(  # noqa: E731
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )
    programs, clips = Programs(cfg, graph, shapes), _BATCH.value * len(devices)
    (h, w), pixels = cfg.size, cfg.clip.image_size
    f32, latent = jnp.float32, (h // cfg.vae.factor, w // cfg.vae.factor)
    of = jax.ShapeDtypeStruct
    conditions = jax.eval_shape(
        programs._encode, shapes, of((1, h, w, 3), f32), of((1, pixels, pixels, 3), f32)
    )
    pictures = of((clips, cfg.frames, h, w, 3), jnp.uint8)
    conditions = jax.eval_shape(
        lambda *a: programs._features(*a, guided=True), shapes, conditions, pictures
    )
    x = of((clips, cfg.frames, *latent, 4), f32, sharding=spread)
    beside = of((clips, cfg.frames, *latent, 5), f32, sharding=spread)
    steps = diffusion.ddim(programs.schedule, 1)
    arguments = (
        *(place(shapes, everywhere), place(conditions, spread), (x, (x, x)), beside),
        *((jnp.int32(0), jnp.int32(1)), jnp.asarray(steps.t), jnp.asarray(steps.rows()), 3.5),
    )
    lowered = programs._clips.lower(*arguments, guided=True)
    count = flops.count(lambda *a: programs._clips(*a, guided=True), *arguments) / len(devices)
    told = {"mesh": dict(mesh.shape), "frames": cfg.frames, "flops": count, "work": count}
    return lowered, told


def compiled(topology: str) -> dict[str, Any]:
    """Compiles, and describes what came of it."""
    devices = slice_devices(topology)
    # Attention is chosen by it.
    jax.default_backend = lambda: "tpu"
    start = time.monotonic()
    lowered, told = {"train": training_step, "sample": sampled_clip}[_WHAT.value](devices)
    program = lowered.compile()
    memory, found = program.memory_analysis(), list(collectives(program.as_text(), len(devices)))
    return {
        "what": _WHAT.value,
        "topology": topology,
        "devices": len(devices),
        "batch": _BATCH.value,
        "dtype": _CONFIG.value.dtype,
        **told,
        "arguments": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "accessed": program.cost_analysis().get("bytes accessed"),
        "collectives": [dataclasses.asdict(c) for c in found],
        "compiled_in": round(time.monotonic() - start),
    }


def exchange(found: Sequence[Mapping[str, Any]], topology: str) -> float:
    """Seconds that collectives take one after another, each at the bandwidth of its links.

    Of a group of all chips every axis of the torus carries a part; of a smaller one a single axis.
    What is summed is first scattered, then gathered.
    """
    kind, _, shape = topology.partition(":")
    chip, axes = CHIPS[kind], [n for n in map(int, shape.split("x")) if n > 1]
    seconds = 0.0
    for one in found:
        n = one["devices"]
        if n < 2:
            continue
        used = axes if n == math.prod(axes) else [n]
        bandwidth = sum(chip.link if size >= chip.ring else chip.link / 2 for size in used)
        twice = 2 if one["kind"] == "all-reduce" else 1
        hops = sum(size - 1 for size in used)
        seconds += twice * (one["bytes"] * (n - 1) / n / bandwidth + hops * _HOP)
    return seconds


def step_time(line: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a step: on the chip, between chips, and both, one after another."""
    chip = CHIPS[line["topology"].partition(":")[0]]
    local = line["work"] / (_REACHED * chip.peak)
    between = exchange(line["collectives"], line["topology"])
    return {"local": local, "between": between, "both": local + between}


def table(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows of Markdown, one of each program."""
    yield (
        "| slice | data x fsdp | each chip | state, GiB | rest, GiB | of | TFLOP | and again "
        "| all-reduce, MB | all-gather, MB | reduce-scatter, MB | other, MB | ms on the chip "
        "| ms between | one after another | of 8 chips' |"
    )
    yield "|---" * 16 + "|"
    eight = {}
    for line in lines:
        times, chip = step_time(line), CHIPS[line["topology"].partition(":")[0]]
        alike = (line["what"], line["frames"], line["topology"][:3], line["batch"])
        eight.setdefault(alike, times["both"])
        amounts: dict[str, float] = dict.fromkeys(_TOLD, 0.0)
        for one in line["collectives"]:
            amounts[one["kind"] if one["kind"] in _TOLD else "other"] += one["bytes"] / 1e6
        mesh = " x ".join(str(n) for n in line["mesh"].values())
        yield (
            f"| {line['topology']} | {mesh} | {line['batch']} x {line['frames']} "
            f"| {line['arguments'] / _GIB:.1f} | {line['temporary'] / _GIB:.1f} "
            f"| {chip.capacity / _GIB:.0f} | {line['flops'] / 1e12:.1f} "
            f"| {(line['work'] - line['flops']) / 1e12:.1f} | "
            + " | ".join(f"{amount:,.0f}" for amount in amounts.values())
            + f" | {1e3 * times['local']:.0f} | {1e3 * times['between']:.0f} "
            f"| {times['local'] / times['both']:.0%} | {eight[alike] / times['both']:.0%} |"
        )


_TOLD = ("all-reduce", "all-gather", "reduce-scatter", "other")


def main(_: list[str]) -> None:
    """Compiles, or prints the table."""
    logging.set_verbosity(logging.WARNING)
    if _TABLE.value:
        lines = Path(_TABLE.value).read_text().splitlines()
        print("\n".join(table([json.loads(line) for line in lines])))
        return
    line = compiled(_TOPOLOGY.value)
    print("\n".join(table([line])))
    if _OUT.value:
        with Path(_OUT.value).open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    import sys

    config_file.add_default(sys.argv)
    app.run(main)
