"""Training for a given time on one device, with examples that are used several times.

An accelerator takes examples far faster than the processors beside it make them. So some processes
make them without pause, the newest ones lie in the device's memory, and batches are drawn from
those (data echoing, arXiv 1907.05550). Noise, timesteps and what is dropped are drawn anew each
time.
"""

import dataclasses
import functools
import itertools
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emoji_jax import checkpoint, files
from emoji_jax.data.pipeline import Source
from emoji_jax.data.transforms import ExampleConfig, example
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.training import settings, step
from emoji_jax.training.state import TrainState, create
from emoji_jax.training.tasks import task

# Examples in a file, files that wait to be read, and which part of them is for the rarer kind.
_CHUNK, _WAITING, _OF = 32, 24, 4
# What ended one of the processes that make them.
_FAILED = "failed"
# A key beside those of the steps, which are numbered from 0.
_DRAWS = 2**31
# The part of a training in which the learning rate rises.
_WARMUP = 0.02


@dataclasses.dataclass(frozen=True)
class Kind:
    """Examples that go into one pool."""

    name: str
    source: Source
    cfg: ExampleConfig


def make(kinds: Sequence[Kind], folder: Path, number: int) -> None:
    """Makes files of examples without end, in a process of its own; the last kind is the rarer."""
    os.nice(10)  # what compiles comes first
    rng = np.random.default_rng(number)
    try:
        for count in itertools.count(1):
            kind = kinds[-1 if count % _OF == 0 else 0]
            if len(list(folder.glob(f"{kind.name}-*.npz"))) >= _WAITING:
                time.sleep(0.1)  # and then perhaps the other one
                continue
            chosen = rng.integers(len(kind.source), size=_CHUNK)
            made = [example(kind.source[int(i)], rng, kind.cfg) for i in chosen]
            arrays: dict[str, Any] = {name: np.stack([x[name] for x in made]) for name in made[0]}
            with files.whole(folder / f"{kind.name}-{number}-{count}.npz") as path:
                with path.open("wb") as file:  # NumPy would put a suffix to a name
                    np.savez(file, **arrays)
    except Exception as error:  # whatever readers, decoders and disks may raise
        with files.whole(folder / _FAILED) as path:
            path.write_text(str(error).strip() or type(error).__name__)


@contextmanager
def makers(kinds: Sequence[Kind], count: int = 0) -> Iterator[tuple[Path, list[Any]]]:
    """A folder, and the processes that make examples in it.

    Args:
      kinds: what they make; most of all the first.
      count: of processes; 0: two fewer than processors.
    """
    count = count or max((os.cpu_count() or 2) - 2, 1)
    before = dict(os.environ)
    # One thread each; NumPy's in this process are there already.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    context = multiprocessing.get_context("spawn")
    folder = Path(tempfile.mkdtemp(prefix="examples-"))
    processes = [
        context.Process(target=make, args=(kinds, folder, number), daemon=True)
        for number in range(count)
    ]
    try:
        for process in processes:
            process.start()
        os.environ.clear()
        os.environ.update(before)
        yield folder, processes
    finally:
        for process in processes:
            process.terminate()
            process.join()
        shutil.rmtree(folder, ignore_errors=True)


class Pool:
    """The newest examples of a kind, in the device's memory.

    Args:
      folder: where files of them appear.
      kind: which.
      capacity: how many are kept, a multiple of what is in a file.
      place: of the arrays.
    """

    def __init__(self, folder: Path, kind: Kind, capacity: int, place: NamedSharding):
        one = example(kind.source[0], np.random.default_rng(0), kind.cfg)
        self.capacity = max(capacity // _CHUNK, 1) * _CHUNK
        self.shapes = {
            n: jax.ShapeDtypeStruct((self.capacity, *x.shape), x.dtype, sharding=place)
            for n, x in one.items()
        }
        self._folder, self._kind = folder, kind
        self.made = 0

    @property
    def filled(self) -> int:
        """How many there are."""
        return min(self.made, self.capacity)

    @functools.cached_property
    def arrays(self) -> Any:
        """All of them; those from `filled` on are zeros."""
        return {n: jnp.zeros(x.shape, x.dtype, device=x.sharding) for n, x in self.shapes.items()}

    def take(self, most: int = 4) -> None:
        """Puts in what has been made since, in place of the oldest ones.

        Raises:
          UserError: no more are made.
        """
        if (failed := self._folder / _FAILED).exists():
            raise UserError(f"the input fails: {failed.read_text().splitlines()[-1][:300]}")
        for path in sorted(self._folder.glob(f"{self._kind.name}-*.npz"))[:most]:
            with np.load(path) as file:
                chunk = {n: file[n] for n in self.shapes}
            path.unlink()
            self.arrays = _put(self.arrays, chunk, self.made % self.capacity)
            self.made += _CHUNK


@functools.partial(jax.jit, donate_argnums=0)
def _put(pool: Any, chunk: Any, at: Any) -> Any:
    return jax.tree.map(lambda p, c: jax.lax.dynamic_update_slice_in_dim(p, c, at, 0), pool, chunk)


def slowed(before: TrainState, after: TrainState, rate: Any, decay: float) -> TrainState:
    """An update at a part of its learning rate, of which AdamW's changes are multiples."""
    trained = jax.tree.map(lambda b, a: b + rate * (a - b), before.trained, after.trained)
    follow = 1 - jnp.minimum(decay, (1 + before.step) / (10 + before.step))
    average = jax.tree.map(lambda a, p: a + follow * (p - a), before.average, trained)
    return dataclasses.replace(after, trained=trained, average=average)


@dataclasses.dataclass
class Part:
    """A training for a given time: its options, networks, examples, and updates in one program."""

    name: str
    config: settings.Config
    cfg: EmojiConfig
    pool: Pool
    mesh: Mesh
    together: int = 25

    def __post_init__(self) -> None:
        self.task = task(self.config)
        self.optimiser = settings.optimiser(self.config)
        self.place = NamedSharding(self.mesh, PartitionSpec())

    def create(self, parameters: Mapping[str, Any]) -> TrainState:
        """The state before the first step."""
        train = self.config.train
        return create(parameters, train.trainable, self.optimiser, train.steps)

    def compile(self) -> Callable[..., Any]:
        """The program of some updates: of state, pool, how much of it is filled, and rate."""
        begun = time.perf_counter()
        compute = settings.compute(self.config, remat=False)
        graph, shapes = abstract(self.cfg, compute, self.task.kind)
        objective = step.objective(graph, shapes, self.task.loss, self.mesh)
        update = step.make(objective, self.optimiser, self.mesh, steps=self.config.train.steps)
        key, batch = jax.random.key(self.config.seed), self.config.train.batch_size

        def one(state: TrainState, pool: Any, filled: Any, rate: Any) -> tuple[TrainState, Any]:
            chosen = jax.random.fold_in(jax.random.fold_in(key, _DRAWS), state.step)
            rows = jax.random.randint(chosen, (batch,), 0, filled)
            after, metrics = update(state, {name: x[rows] for name, x in pool.items()}, key)
            metrics.pop("examples")
            return slowed(state, after, rate, self.optimiser.average), metrics

        def several(state: TrainState, *given: Any) -> tuple[TrainState, Any]:
            if self.together == 1:  # a loop is slow on a CPU
                return one(state, *given)
            made = jax.lax.scan(lambda s, _: one(s, *given), state, length=self.together)
            return made[0], jax.tree.map(lambda x: x.mean(0), made[1])

        def shaped(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.place)

        state = jax.eval_shape(self.create, checkpoint.flatten(shapes))
        given = jax.tree.map(shaped, (state, self.pool.shapes, jnp.int32(0), jnp.float32(0)))
        program = jax.jit(several, donate_argnums=0).lower(*given).compile()
        print(f"{self.name}: compiled in {time.perf_counter() - begun:.0f} s", flush=True)
        return program

    def train(
        self, program: Callable[..., Any], parameters: Mapping[str, Any], seconds: float
    ) -> Iterator[dict[str, np.ndarray] | None]:
        """Trains for so many seconds; yields before each program, and then the parameters.

        Raises:
          UserError: the loss is no number.
        """
        state = jax.device_put(self.create(parameters), self.place)
        while self.pool.made < min(self.pool.capacity, 16 * self.config.train.batch_size):
            time.sleep(0.1)
            yield None
        begun, done, told, before = time.perf_counter(), 0, 0.0, None
        while (gone := (time.perf_counter() - begun) / seconds) < 1:
            yield None
            rate = min(gone / _WARMUP, 0.5 + 0.5 * np.cos(np.pi * gone))
            given = jax.device_put((jnp.int32(self.pool.filled), jnp.float32(rate)), self.place)
            state, metrics = program(state, self.pool.arrays, *given)
            jax.block_until_ready(before)  # one program ahead, no more
            if before and gone >= told:
                self._tell(before, done, (time.perf_counter() - begun) / done)
                told += 0.1
            before, done = metrics, done + self.together
        self._tell(before, done, seconds / max(done, 1))
        yield {name: np.asarray(x) for name, x in state.best.items()}

    def _tell(self, metrics: Any, done: int, each: float) -> None:
        values = ", ".join(f"{n} {float(x):.4f}" for n, x in sorted((metrics or {}).items()))
        told = f"{self.name} {done}: {each * 1e3:.1f} ms, {self.pool.made} examples; {values}"
        print(told, flush=True)
        if metrics and not np.isfinite(float(metrics["loss"])):
            raise UserError(f"{self.name}: the loss is no number after {done} steps")
