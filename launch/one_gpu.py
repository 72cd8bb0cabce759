"""A checkpoint like the bundled one on one GPU, in the minutes that it is given.

python launch/one_gpu.py --out=runs/tiny --sources=data/synthetic,data/fluent,data/avatars \
    --weights=0.5,0.3,0.2 --clips=data/synthetic,data/fluent --start=emoji_jax/weights/tiny

The three trainings (autoencoder, stage 1, stage 2) follow one another in one process; the learning
rate of each falls to zero in the time that it has. Compiling comes on top: minutes, the first time.
Examples are used several times (`emoji_jax/training/echo.py`).

OUT/vae, OUT/stage1 and OUT/stage2 are written when each is done; the last one is the checkpoint.
Nothing is saved within a training; all three always run, and --start=OUT/vae, for example, has the
first begin with what it came to.
"""

import concurrent.futures
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from emoji_jax import checkpoint, command
from emoji_jax import config as config_file
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import abstract
from emoji_jax.training import autoencoder, echo, export, settings, sharding, start

_OUT = flags.DEFINE_string("out", None, "Folder for a checkpoint of each.", required=True)
_START = flags.DEFINE_list("start", [], "As config.start: folders with weights to begin with.")
_SOURCES = flags.DEFINE_list("sources", ["synthetic"], "As config.data.sources.")
_WEIGHTS = flags.DEFINE_list("weights", [], "As config.data.weights.")
_CLIPS = flags.DEFINE_list("clips", [], "Sources for stage 2, where some are no clips.")
_SECONDS = flags.DEFINE_list("seconds", ["240", "600", "240"], "Of each of the three trainings.")
_BATCH = flags.DEFINE_list("batch", ["16", "32", "16"], "Clips in a batch, for each of them.")
_POOL = flags.DEFINE_list("pool", ["24576", "6144"], "Examples kept: of 4 frames, of 8.")
_TOGETHER = flags.DEFINE_integer("together", 25, "Updates in one program.", 1)
_MAKERS = flags.DEFINE_integer("makers", 0, "Processes; 0: all but two of the processors.", 0)

_NAMES = ("vae", "stage1", "stage2")


def _numbers(flag: Any, count: int | None = 3, kind: type = int) -> list[Any]:
    """The values of a flag, positive numbers."""
    try:
        values = [kind(x) for x in flag.value]
    except ValueError:
        values = [0]
    if len(values) != (len(values) if count is None else count) or not all(x > 0 for x in values):
        wanted = "positive numbers" if count is None else f"{count} positive whole numbers"
        raise UserError(f"--{flag.name} is {','.join(flag.value)}; expected {wanted}")
    return values


def _deviation(part: echo.Part, parameters: Mapping[str, np.ndarray]) -> float:
    """Of scaled latents."""
    graph, shapes = abstract(part.cfg, None, part.task.kind)
    pictures = part.pool.arrays["reference"][: min(256, part.pool.filled)]
    encode = jax.jit(lambda s, x: nnx.merge(graph, s).vae.encode(x.astype(jnp.float32) / 127.5 - 1))
    return float(encode(checkpoint.unflatten(shapes, dict(parameters)), pictures).std())


def _options(number: int) -> settings.Config:
    """Of one of the trainings."""
    name = ("vae.py", "tiny_stage1.py", "tiny_stage2.py")[number]
    config = config_file.read(name, beside=str(Path(__file__).parents[1] / "configs" / name))
    config.train.batch_size = _numbers(_BATCH)[number]
    config.data.sources = tuple(_SOURCES.value)
    config.data.weights = tuple(_numbers(_WEIGHTS, None, float))
    if number == 2 and _CLIPS.value:
        config.data.sources, config.data.weights = tuple(_CLIPS.value), ()
    config.optimiser.decay, config.optimiser.warmup = "constant", 0  # see `slowed`
    config.optimiser.average = 0.998
    # In one go what launch/local.sh does in two; colours change as little as in stage 1, whose
    # examples these are.
    config.autoencoder.perceptual, config.autoencoder.kl = 1.0, 2e-3
    if number and jax.default_backend() == "gpu":
        config.dtype, config.attention = "bfloat16", "xla"  # 256 tokens need no kernel
    settings.check(config)
    return config


def main() -> None:
    """Trains the three parts, one after another."""
    seconds, capacities = _numbers(_SECONDS), _numbers(_POOL, 2)
    options = [_options(number) for number in range(3)]
    Path(_OUT.value).mkdir(parents=True, exist_ok=True)  # or all would be lost in the end
    cfgs = [start.adopt(settings.model_config(config), _START.value) for config in options]
    of_stages = list(zip(("frames", "clips"), options[1:], cfgs[1:], strict=True))
    kinds = [
        echo.Kind(name, settings.source(config, cfg, "train"), settings.example(config, cfg))
        for name, config, cfg in of_stages
    ]
    mesh = sharding.mesh(1, jax.local_devices()[:1])
    place = NamedSharding(mesh, PartitionSpec())
    with (
        echo.makers(kinds, _MAKERS.value) as (folder, processes),
        concurrent.futures.ThreadPoolExecutor(len(_NAMES)) as threads,
    ):
        pools = [echo.Pool(folder, k, n, place) for k, n in zip(kinds, capacities, strict=True)]
        parts = [
            echo.Part(name, options[i], cfgs[i], pools[i == 2], mesh, _TOGETHER.value)
            for i, name in enumerate(_NAMES)
        ]
        programs = [threads.submit(part.compile) for part in parts]
        parameters: dict[str, np.ndarray] = {}
        for part, program, time in zip(parts, programs, seconds, strict=True):
            own = start.parameters(part.cfg, part.task.kind, _START.value, part.config.seed)
            own |= {name: x for name, x in parameters.items() if name in own}
            for made in part.train(program.result(), own, float(time)):
                for pool in pools:
                    pool.take()
                if not all(process.is_alive() for process in processes):
                    raise UserError("the input fails: a process that makes examples has ended")
                parameters = made or parameters
            if part.name == "vae":
                parameters = autoencoder.standardised(parameters, _deviation(part, parameters))
            export.write(Path(_OUT.value) / part.name, part.cfg, parameters, jnp.bfloat16)


if __name__ == "__main__":
    command.run(main)
