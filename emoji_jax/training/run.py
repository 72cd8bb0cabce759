"""A training run: set up or gone on with, then step after step until done or told to stop."""

import contextlib
import dataclasses
import functools
import itertools
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from emoji_jax import checkpoint, distributed
from emoji_jax.data import encoded, pipeline, sources
from emoji_jax.data.sources import EncodedClip
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import Emoji, EmojiConfig, abstract
from emoji_jax.programs import Programs
from emoji_jax.training import (
    export,
    flops,
    settings,
    sharding,
    start,
    step,
)
from emoji_jax.training.checkpoint import RunCheckpoints, begun
from emoji_jax.training.logs import Log, Profile, Speed
from emoji_jax.training.state import TEACHER, TrainState, create, learning_rate
from emoji_jax.training.tasks import HostBatch, task
from emoji_jax.training.validation import Validation

# A step's number, what it measured and what it saw.
Done = tuple[int, step.Metrics, HostBatch]


class Run:
    """One training run, in all processes.

    Args:
      config: as `configs/base.py` has it.
      workdir: what is written goes here; if there is a run already, it is gone on with.
      devices: where, by default on all.

    Raises:
      UserError: a setting that can't be, missing data or weights, or another run's `workdir`.
    """

    def __init__(
        self,
        config: settings.Config,
        workdir: Path,
        devices: Sequence[jax.Device] | None = None,  # pyright: ignore
    ):
        settings.check(config)
        self.config, self.workdir = config, workdir
        self.task = task(config)
        # What a run noted that came to nothing may be the mistake that ended it.
        before = settings.noted(workdir) if begun(workdir) else None
        if before is None:
            self.cfg = start.adopt(settings.model_config(config), config.start)
        else:
            settings.check_same(config, before[0], workdir)
            self.cfg = before[1]
        self.mesh = sharding.mesh(config.mesh.fsdp, devices)
        sharding.check_batch(config.train.batch_size, config.train.accumulate, self.mesh)
        self.optimiser = settings.optimiser(config)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{workdir} can't be made: {error.strerror}") from None
        self.checkpoints = RunCheckpoints(workdir, config.checkpoint.keep)
        self.profile = Profile(workdir / "profile", config.log.profile)
        self._told_to_stop = False

    @classmethod
    def of(cls, workdir: Path) -> "Run":
        """The run that is in a folder, with the options that it was given, on one device.

        Raises:
          UserError: there is none.
        """
        found = settings.noted(workdir)
        if found is None or not begun(workdir):
            raise UserError(f"{workdir} has no training run that has saved anything")
        config = found[0]
        config.mesh.fsdp = 1
        return cls(config, workdir, jax.local_devices()[:1])

    def _batches(self, split: str, cfg: pipeline.PipelineConfig, start: int = 0) -> Any:
        return pipeline.batches(
            settings.source(self.config, self.cfg, split),
            cfg,
            settings.example(self.config, self.cfg),
            process=jax.process_index(),
            processes=jax.process_count(),
            start=start,
        )

    @functools.cached_property
    def iterator(self) -> Any:
        """Grain's, of this process's part of each batch."""
        return self._batches("train", settings.pipeline(self.config))

    @functools.cached_property
    def validation(self) -> Validation:
        """Measures the run on held-out clips."""
        log = self.config.log
        # Shuffled, the same way every time: clips of one person lie together.
        batch = pipeline.PipelineConfig(self.config.train.batch_size, self.config.seed)
        wanted = log.validation_batches if log.validate else 1
        batches = list(itertools.islice(self._batches("validation", batch), wanted))
        graph, shapes = self._abstract
        programs = Programs(self.cfg, graph, shapes)
        return Validation(self.objective, programs, shapes, self.task.picture, batches, self.mesh)

    @functools.cached_property
    def _abstract(self) -> tuple[nnx.GraphDef, nnx.State]:
        compute = settings.compute(self.config, remat=self.config.train.remat)
        return abstract(self.cfg, compute, self.task.kind)

    @functools.cached_property
    def objective(self) -> Callable[..., Any]:
        """The loss as a function of parameters, batch and key."""
        return step.objective(*self._abstract, self.task.loss, self.mesh, self.task.beside)

    def make_update(self) -> Any:
        """A training step, compiled when it is first called."""
        make = functools.partial(step.make, self.objective, self.optimiser, self.mesh)
        return make(steps=self.config.train.steps, accumulate=self.config.train.accumulate)

    def shapes(self) -> TrainState:
        """The state as shapes with shardings."""
        flat = checkpoint.flatten(self._abstract[1])
        state = jax.eval_shape(lambda flat: self._create(flat), flat)
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            state,
            sharding.of_tree(state, self.mesh),
        )

    def _create(self, parameters: Any) -> TrainState:
        train = self.config.train
        taught = TEACHER in self.task.beside
        return create(parameters, train.trainable, self.optimiser, train.steps, teacher=taught)

    def state(self) -> TrainState:
        """The state to begin with: of the newest checkpoint, or before the first step."""
        # Made first: they tell of missing data and of bad patterns before anything is read.
        iterator, shapes = self.iterator, self.shapes()
        log = self.config.log
        if log.validate or log.grids or self.task.kind is not Emoji:  # see `finished`
            _ = self.validation
        settings.note(self.config, self.cfg, self.workdir)
        if self.checkpoints.steps():
            state = self.checkpoints.newest(shapes, iterator)
            if not self.checkpoints.follows(step := int(state.step)):
                # Of another number of processes: the batches are the same, each one's part is not.
                iterator.close()
                self.iterator = self._batches("train", settings.pipeline(self.config), step)
            return state
        flat = start.parameters(self.cfg, self.task.kind, self.config.start, self.config.seed)
        if not any(name.startswith("landmark_encoder.") for name in shapes.trained):
            start.check_landmarks(self.cfg, self.config.start)
        self._check_encoded(flat, shapes)
        state = self._create(sharding.place(flat, self.mesh))
        # Counters, which the optimiser makes of nothing, are on one device only.
        return jax.tree.map(
            lambda x, like: x if x.ndim else jax.device_put(x, like.sharding), state, shapes
        )

    def _check_encoded(self, parameters: Mapping[str, np.ndarray], shapes: TrainState) -> None:
        """Raises a UserError if clips are encoded, but not as the networks would do it."""
        source = settings.source(self.config, self.cfg, "train")
        if not isinstance(source[0], EncodedClip):
            return
        if self.cfg.warped:
            raise UserError(
                "data.sources has encoded clips, but with model.warped portraits are warped; "
                "expected pictures"
            )
        if any(name.startswith(("vae.", "clip.")) for name in shapes.trained):
            raise UserError(
                "data.sources has encoded clips, but the autoencoder or CLIP shall be trained; "
                "expected pictures"
            )
        sources.check_encoded(
            source,
            lambda: encoded.describe(
                parameters,
                size=self.cfg.size[0],
                factor=self.cfg.vae.factor,
                scaling=self.cfg.vae.scaling,
                clip_size=self.cfg.clip.image_size,
            ),
        )

    def train(self) -> int:
        """Steps until there are enough, or SIGTERM; saves in either case.

        Returns:
          The step that it came to.

        Raises:
          UserError: the loss is no number, the input fails, or nothing can be written.
        """
        before = signal.getsignal(signal.SIGTERM)
        if jax.process_count() == 1:  # several processes agree on when to stop
            signal.signal(signal.SIGTERM, self._on_signal)
        patience = self.config.mesh.patience if self.mesh.size > 1 else 0
        self._watchdog = distributed.Watchdog(patience)
        self._watchdog.feed()
        try:
            state = self.state()
            self.log = Log(self.workdir, int(state.step))
            state = self._steps(state)
            self.checkpoints.wait()
            self._watchdog.feed()
            if int(state.step) >= self.config.train.steps:
                export.write(self.workdir / checkpoint.WEIGHTS, self.finished(state), state.best)
        except BaseException:
            # What can't be written any more must not hide why.
            with contextlib.suppress(Exception):
                self._close()
            raise
        else:
            self._close()
        finally:
            self._watchdog.stop()
            signal.signal(signal.SIGTERM, before)
        return int(state.step)

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:  # all of them, even if one raises
            stack.callback(self.checkpoints.close)
            if "log" in vars(self):
                stack.callback(self.log.close)
            if "iterator" in vars(self):
                stack.callback(self.iterator.close)  # or its workers complain
            stack.callback(self.profile.close)

    def finished(self, state: TrainState) -> EmojiConfig:
        """The configuration of the weights: an autoencoder's also says how wide its latents are."""
        if self.task.kind is Emoji:
            return self.cfg
        deviation = self.validation(state)["validation_latent_std"]
        vae = dataclasses.replace(self.cfg.vae, scaling=1 / deviation)
        return dataclasses.replace(self.cfg, vae=vae)

    def _on_signal(self, *_: object) -> None:
        self._told_to_stop = True

    def _steps(self, state: TrainState) -> TrainState:
        train, every = self.config.train, self.config.log
        update = self.make_update()
        key = jax.random.key(self.config.seed)
        rate: Any = learning_rate(self.optimiser, train.steps)
        speed, unchecked = None, None
        for number in range(int(state.step) + 1, train.steps + 1):
            self._watchdog.feed()
            self.profile.step(state.step)
            batch = self._next_batch(number, state, unchecked)
            placed = sharding.place_batch(batch, self.mesh)
            speed = speed or Speed(self._flops(state, placed, key))
            state, metrics = update(state, placed, key)
            # The step before is looked at while this one runs.
            self._check(unchecked)
            unchecked = (number, metrics, batch)
            stop = self._told_to_stop or self.checkpoints.reached_preemption(number)
            validate = bool(every.validate) and number % every.validate == 0
            # The best one can only be kept if every one that is measured is saved.
            save = stop or validate or number == train.steps
            save = save or number % self.config.checkpoint.every == 0
            draw = bool(every.grids) and number % every.grids == 0
            told = {}
            tell = number % every.every == 0
            if tell or save or draw:
                self._check(unchecked)
                self._watchdog.feed()
            if tell:
                told = {**_numbers(metrics), "lr": float(rate(number - 1)), **speed(number)}
            if validate:
                told |= self.validation(state)
            if told:
                self.log.write(number, told)
            if draw:
                picture = self.validation.picture(state, every.grid_clips, every.grid_frames)
                self.log.picture(number, "validation", picture)
            if save:
                self.checkpoints.save(state, self.iterator, told if validate else None)
            if save or draw:
                speed.skip(number)
            if stop:
                break
        return state

    def _next_batch(self, number: int, state: TrainState, unchecked: Done | None) -> HostBatch:
        try:
            return next(self.iterator)
        except Exception as error:  # whatever readers, decoders and disks may raise
            self._check(unchecked)
            alone = jax.process_count() == 1  # the others would have to save, too
            if alone and number - 1 not in (0, *self.checkpoints.steps()):
                self.checkpoints.save(state, self.iterator, None)
                self.checkpoints.wait()
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            saved = max(self.checkpoints.steps(), default=0)
            raise UserError(
                f"step {number}: the input fails ({reason[:300]}); saved as of step {saved}, "
                "from where the same command goes on"
            ) from None

    def _check(self, done: Done | None) -> None:
        """Raises a UserError if a step's loss or gradient was no number."""
        if done is None:
            return
        number, metrics, batch = done
        values = {name: float(metrics[name]) for name in ("loss", "grad_norm")}
        if np.isfinite(list(values.values())).all():
            return
        clips, finite = batch["clip"], np.isfinite(sharding.local(metrics["examples"]))
        source = settings.source(self.config, self.cfg, "train")
        names = ", ".join(sources.name(source, int(i)) for i in clips[~finite][:16])
        told = " and ".join(f"{name} {value}" for name, value in values.items())
        saved = self.checkpoints.steps()
        raise UserError(
            f"step {number}: {told}{', of clips ' * bool(names)}{names}; "
            + (f"the last good checkpoint is step {saved[-1]}" if saved else "nothing is saved yet")
        )

    def _flops(self, state: TrainState, batch: step.Batch, key: jax.Array) -> float:
        """Arithmetic of a step, without what is recomputed to save memory."""
        # Attention as products that can be counted; nothing of this is run.
        compute = dataclasses.replace(settings.compute(self.config, remat=False), attention="xla")
        graph, shapes = abstract(self.cfg, compute, self.task.kind)
        parts = self.config.train.accumulate
        part = {
            name: jax.ShapeDtypeStruct((len(x) // parts, *x.shape[1:]), x.dtype)
            for name, x in batch.items()
        }
        objective = step.objective(graph, shapes, self.task.loss, self.mesh, self.task.beside)
        function = jax.value_and_grad(objective, has_aux=True)
        return parts * flops.count(function, state.trained, state.beside, part, key)


def _numbers(metrics: step.Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if name != "examples"}
