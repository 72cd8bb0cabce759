"""What a training run carries from step to step, and how the optimiser changes it."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emoji_jax.errors import UserError

# Arrays, or what stands for them: shapes, shardings.
Parameters = Mapping[str, Any]

# Networks that a loss may see besides the one that is trained.
TEACHER, AVERAGE = "teacher", "average"


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """How parameters change.

    Attributes:
      learning_rate: after the warm-up.
      warmup: steps over which the learning rate rises from zero.
      decay: "constant", or "cosine" to zero at the last step.
      betas: of AdamW.
      epsilon: of AdamW.
      weight_decay: of AdamW, on matrices and kernels only.
      clip: largest norm of all gradients together; longer ones are shortened to it.
      average: decay of the running average of the parameters; 0 keeps none.
    """

    learning_rate: float = 1e-5
    warmup: int = 0
    decay: str = "constant"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes, and the parameters that it does not.

    Attributes:
      step: steps done.
      trained: parameters that are trained, by dotted name.
      frozen: all others; with a teacher, also what `trained` was in the beginning, as
        `teacher.NAME`.
      moments: the optimiser's.
      average: running average of `trained`, or None.
    """

    step: Any
    trained: Parameters
    frozen: Parameters
    moments: Any
    average: Parameters | None

    @property
    def best(self) -> Parameters:
        """All parameters as they shall be used: averaged, if an average is kept."""
        own = {n: x for n, x in self.frozen.items() if not n.startswith(f"{TEACHER}.")}
        return {**own, **(self.average or self.trained)}

    @property
    def beside(self) -> Parameters:
        """What a loss may see without changing it: `frozen`, and the average as `average.NAME`."""
        return {**self.frozen, **_named(AVERAGE, self.average or {})}


def _named(network: str, parameters: Parameters) -> Parameters:
    return {f"{network}.{name}": x for name, x in parameters.items()}


def divide(names: Sequence[str], patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that match a pattern (`*` stands for anything), and the others.

    Raises:
      UserError: a pattern matches nothing, or none is given.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(
                f"train.trainable has {pattern!r}, which no parameter is called; names are like "
                f"{names[0]}"
            )
    chosen = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    if not chosen:
        raise UserError("train.trainable is empty; expected patterns of parameters' names")
    return [n for n in names if n in chosen], [n for n in names if n not in chosen]


def learning_rate(cfg: OptimiserConfig, steps: int) -> optax.Schedule:
    """The learning rate of each step."""
    if cfg.decay == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0, cfg.learning_rate, cfg.warmup, max(steps, cfg.warmup + 1)
        )
    if not cfg.warmup:  # optax would stay at zero
        return optax.constant_schedule(cfg.learning_rate)
    return optax.warmup_constant_schedule(0.0, cfg.learning_rate, cfg.warmup)


def optimiser(cfg: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """Clipping and AdamW (arXiv 1711.05101)."""
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.adamw(
            learning_rate(cfg, steps),
            *cfg.betas,
            eps=cfg.epsilon,
            weight_decay=cfg.weight_decay,
            mask=lambda parameters: jax.tree.map(lambda p: p.ndim > 1, parameters),
        ),
    )


def create(
    parameters: Parameters,
    patterns: Sequence[str],
    cfg: OptimiserConfig,
    steps: int,
    *,
    teacher: bool = False,
) -> TrainState:
    """The state before the first step; what it holds stays where the parameters are."""
    trained, frozen = divide(list(parameters), patterns)
    chosen = {name: parameters[name] for name in trained}
    kept = {name: parameters[name] for name in frozen}
    return TrainState(
        step=jnp.int32(0),
        trained=chosen,
        # Copies, here and below: what is donated to the step can't be one buffer twice.
        frozen={**kept, **_named(TEACHER, jax.tree.map(jnp.copy, chosen))} if teacher else kept,
        moments=optimiser(cfg, steps).init(chosen),
        average=jax.tree.map(jnp.copy, chosen) if cfg.average else None,
    )


def advance(
    state: TrainState, gradients: Parameters, cfg: OptimiserConfig, steps: int
) -> TrainState:
    """One update of the optimiser."""
    updates, moments = optimiser(cfg, steps).update(gradients, state.moments, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    average = state.average
    if average is not None:
        # Early on the average follows faster, or it would long be made of initial values.
        decay = jnp.minimum(cfg.average, (1 + state.step) / (10 + state.step))
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, trained)
    return dataclasses.replace(
        state, step=state.step + 1, trained=trained, moments=moments, average=average
    )
