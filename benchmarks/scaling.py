"""Compiles the whole system for TPU slices that are not there, and says what a step would take.

python benchmarks/scaling.py --topology=v5p:2x2x2 --config=configs/stage1.py --out=scaling.jsonl
python benchmarks/scaling.py --topology=v5e:4x8 --what=sample --config=configs/sample.py
python benchmarks/scaling.py --table=scaling.jsonl

The first two take libtpu (`pip install 'emoji_jax[tpu,train]'`), which compiles for a slice on any
machine: bytes per device, arithmetic and collectives are those of the program that a TPU would run,
and nothing runs. Once they are known the compiler is stopped: what is left, an hour of making
machine code, would tell nothing more. `--batch` is of each device. The third command computes times
from them: see `step_time`.
"""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Nothing asks the machine itself for a TPU.
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "none"}

import batches
import jax
import jax.numpy as jnp
from absl import app, flags, logging
from jax.sharding import NamedSharding, PartitionSpec
from step_time import collectives, table

from emoji_jax import config as config_file
from emoji_jax import diffusion
from emoji_jax.models.emoji import PRESETS, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.plan import plan
from emoji_jax.programs import Programs
from emoji_jax.training import flops
from emoji_jax.training.run import Run

_TOPOLOGY = flags.DEFINE_string("topology", None, "Kind and shape of a slice: v5e:2x4, v5p:2x2x2.")
_WHAT = flags.DEFINE_enum("what", "train", ["train", "sample"], "A training step, or a clip.")
_BATCH = flags.DEFINE_integer("batch", 4, "Samples (or clips) of each device.", 1)
_OUT = flags.DEFINE_string("out", None, "File that a line of JSON is added to.")
_TABLE = flags.DEFINE_string("table", None, "File of such lines, to print as tables.")
_DUMP = flags.DEFINE_string("dump", None, "Folder of a compiler's notes: for this script itself.")
_CONFIG = config_file.flag("stage1.py")
# How the name of the last file that is waited for ends.
_LAST = "_after_buffer_assignment.txt"


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
    if train.accumulate > 1:
        raise SystemExit("train.accumulate is a loop, and collectives in loops are counted once")
    update = run.make_update()
    batch, key = batches.shapes(run), jax.eval_shape(lambda: jax.random.key(0))
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
    told["state"] = _bytes(state)
    told["work"] = (
        train.accumulate
        / len(devices)
        * flops.count(gradient, state.trained, state.beside, part, key)
    )
    told["flops"] = run._flops(state, batch, key) / len(devices)
    return update.lower(state, batch, key), told


def _bytes(tree: Any) -> int:
    """What each device holds of a tree of shapes."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


def sampled_clip(devices: list[jax.Device]) -> tuple[Any, dict[str, Any]]:
    """One step of the sampler with guidance on a clip of each device: as `training_step`."""
    mesh = jax.sharding.Mesh(devices, ("data",))
    cfg, config = PRESETS["paper"](), _CONFIG.value
    compute = Compute(jnp.dtype(config.dtype), config.attention)
    graph, shapes = abstract(cfg, compute)
    everywhere, spread = (NamedSharding(mesh, s) for s in (PartitionSpec(), PartitionSpec("data")))
    place = lambda tree, where: jax.tree.map(  # noqa: E731
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )
    programs, clips = Programs(cfg, graph, shapes), _BATCH.value * len(devices)
    programs._mesh = mesh  # not given at once: there are no parameters to place
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
    every = plan(steps.t)
    arguments = (
        *(place(shapes, everywhere), place(conditions, spread), (x, (x, x), ()), beside),
        *((jnp.int32(0), jnp.int32(1)), (jnp.asarray(steps.t), jnp.asarray(steps.rows()))),
        *((jnp.asarray(every.full), jnp.asarray(every.weights)), 3.5),
    )
    lowered = programs._clips.lower(*arguments, guided=True, depth=None)
    count = flops.count(lambda *a: programs._clips(*a, guided=True, depth=None), *arguments) / len(
        devices
    )
    told = {"mesh": dict(mesh.shape), "frames": cfg.frames, "flops": count, "work": count}
    told["state"] = _bytes(place(shapes["unet"], everywhere))  # the others are not in this program
    return lowered, told


def compile_into(dump: Path) -> None:
    """Compiles; the compiler writes what it does to a folder, and this what it is of."""
    devices = slice_devices(_TOPOLOGY.value)
    # Attention is chosen by it.
    jax.default_backend = lambda: "tpu"
    lowered, told = {"train": training_step, "sample": sampled_clip}[_WHAT.value](devices)
    told["devices"] = len(devices)
    (dump / "told.json").write_text(json.dumps(told))
    lowered.compile()


def compiled(topology: str) -> dict[str, Any]:
    """Has a program compiled, as far as that, and describes what came of it."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder)
        wanted = f"--xla_dump_to={dump} --xla_dump_hlo_as_text --xla_dump_hlo_pass_re=none"
        environment = os.environ | {"XLA_FLAGS": wanted, "TPU_LOG_DIR": "disabled"}
        command = [sys.executable, *sys.argv, f"--dump={dump}"]
        with subprocess.Popen(command, env=environment) as compiler:
            while compiler.poll() is None and not (found := _written(dump)):
                time.sleep(5)
            compiler.kill()
        if not (found := _written(dump)):
            raise SystemExit(f"the compiler ended with exit code {compiler.returncode}")
        told = json.loads((dump / "told.json").read_text())
        report = found.with_name(found.name.replace(_LAST, "-memory-usage-report.txt")).read_text()
        program = found.read_text()
    return {
        "what": _WHAT.value,
        "topology": topology,
        "batch": _BATCH.value,
        "dtype": _CONFIG.value.dtype,
        **told,
        "memory": int(re.search(r"Total bytes: (\d+)", report)[1]),
        "collectives": [dataclasses.asdict(c) for c in collectives(program, told["devices"])],
        "compiled_in": round(time.monotonic() - start),
    }


def _written(dump: Path) -> Path | None:
    """The program with its memory laid out, once the compiler has written all of it."""
    for path in dump.glob(f"*after_optimizations{_LAST}"):
        # The next thing that it writes.
        if "jit_step" in path.name or "jit_run" in path.name:
            before = path.stat().st_size
            time.sleep(3)
            return path if path.stat().st_size == before else None
    return None


def main(_: list[str]) -> None:
    """Compiles, or prints the table."""
    logging.set_verbosity(logging.WARNING)
    if _DUMP.value:
        compile_into(Path(_DUMP.value))
        return
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
    config_file.add_default(sys.argv)
    app.run(main)
