"""Compiles a training step for many devices without having them, and says what each would hold.

python benchmarks/train_memory.py --config=configs/stage1.py --devices=8

Nothing is allocated and nothing runs. The figures are those of XLA for host devices: on
accelerators buffers are fused and laid out differently, which makes them a guide, not a promise.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

_DEVICES = flags.DEFINE_integer("devices", 8, "Host devices to compile for.")


def _make_devices() -> None:
    """JAX wants to know the number of devices before it is imported."""
    given = [a.split("=")[1] for a in sys.argv if a.startswith("--devices=")]
    count = given[0] if given else "8"
    flag = f"--xla_force_host_platform_device_count={count}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    os.environ["JAX_PLATFORMS"] = "cpu"


_make_devices()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402

from emoji_jax import config as config_file  # noqa: E402
from emoji_jax.training import sharding, step  # noqa: E402
from emoji_jax.training.run import Run  # noqa: E402

_CONFIG = config_file.flag("stage1.py")
_GIB = 2**30


def batch_shapes(run: Run) -> dict[str, jax.ShapeDtypeStruct]:
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


def main(_: list[str]) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(_CONFIG.value, Path(workdir))
    train, state = run.config.train, run.shapes()
    update = step.make(
        run.objective, run.optimiser, run.mesh, steps=train.steps, accumulate=train.accumulate
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = time.monotonic()
    compiled = update.lower(state, batch_shapes(run), key).compile()
    memory = compiled.memory_analysis()
    print(
        f"{jax.device_count()} devices, {dict(run.mesh.shape)}, batch {train.batch_size} x "
        f"{train.frames} frames, {run.cfg.preset}, {run.config.dtype}, remat {train.remat}"
    )
    print(f"compiled in {time.monotonic() - start:.0f} s")
    for name, parameters in (("trained", state.trained), ("frozen", state.frozen)):
        print(f"{name}: {sum(x.size for x in parameters.values()) / 1e6:.0f} M parameters")
    print("per device, GiB:")
    for name in ("argument", "output", "alias", "temp"):
        print(f"  {name:9}{getattr(memory, f'{name}_size_in_bytes') / _GIB:8.2f}")


if __name__ == "__main__":
    sys.argv = (
        sys.argv
        if any(a.startswith("--config") for a in sys.argv)
        else [*sys.argv[:1], f"--config={config_file.folder() / 'stage1.py'}", *sys.argv[1:]]
    )
    app.run(main)
