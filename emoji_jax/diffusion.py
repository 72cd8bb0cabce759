"""Noise tables, conversions between predictions, and samplers as tables of coefficients."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

TRAIN_STEPS = 1000
Numbers = Array | np.ndarray
# What an update computes with: arrays of either kind, or plain numbers.
Scalars = TypeVar("Scalars", Array, np.ndarray, float)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The forward process x_t = alpha_t x0 + sigma_t eps, variance preserving.

    Attributes:
      alphas_cumprod: alpha_t squared, fp32, one per training timestep.
    """

    alphas_cumprod: Float[np.ndarray, " T"]

    @property
    def alpha(self) -> Float[np.ndarray, " T"]:
        """Share of the clean latents at each timestep."""
        return np.sqrt(self.alphas_cumprod)

    @property
    def sigma(self) -> Float[np.ndarray, " T"]:
        """Share of the noise at each timestep."""
        return np.sqrt(1 - self.alphas_cumprod)


def schedule(*, zero_terminal_snr: bool = True) -> Schedule:
    """Stable Diffusion's scaled-linear betas, 0.00085 to 0.012 in 1000 steps.

    Args:
      zero_terminal_snr: rescale so that the last timestep is pure noise (arXiv 2305.08891,
        algorithm 1). alpha is then exactly 0 there: never divide by it.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, TRAIN_STEPS, dtype=np.float32) ** 2
    alphas_cumprod = np.cumprod(1 - betas, dtype=np.float32)
    if zero_terminal_snr:
        root = np.sqrt(alphas_cumprod)
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        alphas_cumprod = root**2
        # By way of the betas, as the released scheduler does, for the same rounding.
        alphas = np.append(alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1])
        alphas_cumprod = np.cumprod(1 - (1 - alphas), dtype=np.float32)
    return Schedule(alphas_cumprod)


def trailing_timesteps(steps: int) -> Int[np.ndarray, " S"]:
    """Timesteps that end each of S equal spans of the schedule, noisiest first.

    Raises:
      ValueError: not between 1 and the number of training timesteps.
    """
    if not 1 <= steps <= TRAIN_STEPS:
        raise ValueError(f"sampling steps are {steps}; expected 1 to {TRAIN_STEPS}")
    # Rounding errors may give one number more than there are steps.
    ends = np.arange(TRAIN_STEPS, 0, -TRAIN_STEPS / steps)[:steps]
    return np.round(ends).astype(np.int32) - 1


def _by_sample(table: np.ndarray, t: Int[Numbers, " B"], like: Numbers) -> Array:
    values = jnp.asarray(table, jnp.float32)[t]
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def add_noise(
    schedule: Schedule,
    x0: Float[Numbers, "B ..."],
    eps: Float[Numbers, "B ..."],
    t: Int[Numbers, " B"],
) -> Float[Numbers, "B ..."]:
    """x_t of the forward process; t is an index of the schedule, one per sample."""
    return _by_sample(schedule.alpha, t, x0) * x0 + _by_sample(schedule.sigma, t, x0) * eps


def velocity(
    schedule: Schedule,
    x0: Float[Numbers, "B ..."],
    eps: Float[Numbers, "B ..."],
    t: Int[Numbers, " B"],
) -> Float[Numbers, "B ..."]:
    """What the UNet is trained to predict: v = alpha eps - sigma x0 (arXiv 2202.00512)."""
    return _by_sample(schedule.alpha, t, x0) * eps - _by_sample(schedule.sigma, t, x0) * x0


def to_x0_eps(
    schedule: Schedule,
    x: Float[Numbers, "B ..."],
    v: Float[Numbers, "B ..."],
    t: Int[Numbers, " B"],
) -> tuple[Float[Numbers, "B ..."], Float[Numbers, "B ..."]]:
    """Clean latents and noise that a velocity stands for; defined also where alpha is 0."""
    alpha, sigma = _by_sample(schedule.alpha, t, x), _by_sample(schedule.sigma, t, x)
    return alpha * x - sigma * v, alpha * v + sigma * x


def guide(
    unconditional: Float[Numbers, "*B"], conditional: Float[Numbers, "*B"], scale: ArrayLike
) -> Float[Numbers, "*B"]:
    """Classifier-free guidance (arXiv 2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


@dataclasses.dataclass(frozen=True)
class Steps:
    """A sampler: S updates x <- a x + b x0 + c x0' + d x0'', where x0 = alpha x - sigma v.

    Every sampler here is linear in what the network said, now and in the two steps before, so that
    it is nothing but numbers; the loop over them is the same for all.

    Attributes:
      t: timestep the network is told.
      alpha: and
      sigma: turn the network's velocity into x0.
      a: weight of x.
      b: weight of the present x0.
      c: weight of the x0 before; 0 at the first step.
      d: weight of the x0 before that; 0 at the first two.
    """

    t: Int[np.ndarray, " S"]
    alpha: Float[np.ndarray, " S"]
    sigma: Float[np.ndarray, " S"]
    a: Float[np.ndarray, " S"]
    b: Float[np.ndarray, " S"]
    c: Float[np.ndarray, " S"]
    d: Float[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.t)

    def rows(self) -> Float[np.ndarray, "S 6"]:
        """What `update` needs of each step: alpha, sigma, a, b, c, d."""
        return np.stack([self.alpha, self.sigma, self.a, self.b, self.c, self.d], 1)


def update(
    step: Sequence[Any], x: Scalars, v: Scalars, before: tuple[Scalars, Scalars]
) -> tuple[Scalars, tuple[Scalars, Scalars]]:
    """One update of a sampler.

    Args:
      step: a row of `Steps.rows`.
      x: noisy.
      v: predicted velocity.
      before: the last x0, and the one before.

    Returns:
      The new x, and the x0 that the next update wants.
    """
    alpha, sigma, a, b, c, d = step
    x0 = alpha * x - sigma * v
    return a * x + b * x0 + c * before[0] + d * before[1], (x0, before[0])


def _steps(schedule: Schedule, t: np.ndarray, *weights: np.ndarray) -> Steps:
    weights += (np.zeros(len(t)),) * (4 - len(weights))
    columns = (schedule.alpha[t], schedule.sigma[t], *weights)
    return Steps(t, *(np.asarray(x, np.float32) for x in columns))


def _to_next(schedule: Schedule, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Tables of alpha and sigma, clean latents last, and weights a and b of first-order steps."""
    squared = np.append(schedule.alphas_cumprod.astype(np.float64)[t], 1.0)
    alpha, sigma = np.sqrt(squared), np.sqrt(1 - squared)
    a = sigma[1:] / sigma[:-1]
    return alpha, sigma, a, alpha[1:] - a * alpha[:-1]


def ddim(schedule: Schedule, steps: int) -> Steps:
    """DDIM without noise (arXiv 2010.02502), stepping as the released code does.

    It steps to timestep t - T // S, which is not always the next one that the network is told:
    with 30 steps every third is one off. Kept, for the same pixels.
    """
    t = trailing_timesteps(steps)
    before = t - TRAIN_STEPS // steps
    squared = schedule.alphas_cumprod.astype(np.float64)
    now, then = squared[t], np.where(before >= 0, squared[before], 1.0)
    a = np.sqrt((1 - then) / (1 - now))
    return _steps(schedule, t, a, np.sqrt(then) - a * np.sqrt(now))


def dpmpp_2m(schedule: Schedule, steps: int) -> Steps:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2), first order at both ends.

    Half log-SNR is minus infinity at the first timestep and infinity after the last step; there
    the first-order update, which is DDIM's, is the limit.
    """
    t = trailing_timesteps(steps)
    alpha, sigma, a, b = _to_next(schedule, t)
    with np.errstate(divide="ignore"):
        h = np.diff(np.log(alpha) - np.log(sigma))
    inner = np.arange(1, steps - 1)
    extrapolation = np.zeros(steps)
    extrapolation[inner] = 0.5 * h[inner] / h[inner - 1]
    return _steps(schedule, t, a, b * (1 + extrapolation), -b * extrapolation)


def unipc(schedule: Schedule, steps: int) -> Steps:
    """UniPC (arXiv 2302.04867) of second order, B(h) = e^h - 1, first order at both ends.

    Its corrector moves x to where the newest prediction would have brought it. That is linear too,
    so that correction and prediction become one update. What is infinite at pure noise and at
    clean latents has limits, as in `dpmpp_2m`.
    """
    t = trailing_timesteps(steps)
    alpha, sigma, a, _ = _to_next(schedule, t)
    with np.errstate(divide="ignore"):
        h = np.diff(np.log(alpha) - np.log(sigma))
    growth = -alpha[1:] * np.expm1(-h)
    rows, correction = [], np.zeros(3)  # weights of the newest x0 and of the two before
    for i in range(steps):
        # Of the difference between the newest x0 and the one before; before pure noise, none.
        slope = 0.5 * growth[i] * h[i] / h[i - 1] if 0 < i < steps - 1 else 0.0
        predicted = np.array([growth[i] + slope, -slope])
        rows.append([a[i], *(a[i] * correction + [*predicted, 0.0])])
        if i < steps - 1:
            correction = _unipc_corrected(h[max(i - 1, 0) : i + 1], growth[i]) - [0.0, *predicted]
    return _steps(schedule, t, *np.array(rows).T)


def _unipc_corrected(h: np.ndarray, growth: float) -> np.ndarray:
    """Weights of the x0 that is found after a step, and of the two before it (algorithm 1).

    Args:
      h: of the step before, if there is one, and of the step, in half log-SNR.
      growth: what the step takes of the newest x0.
    """
    if len(h) == 1:
        return growth * np.array([0.5, 0.5, 0.0])
    # Both sums of weights that make the exponential integrator exact for lines and parabolas.
    first = (np.expm1(-h[1]) / -h[1] - 1) / np.expm1(-h[1])
    second = 2 * ((np.expm1(-h[1]) / -h[1] - 1) / -h[1] - 0.5) / np.expm1(-h[1])
    ratio = -h[0] / h[1]
    old = (second - first) / (ratio - 1)
    return growth * np.array([first - old, 1 - (first - old) - old / ratio, old / ratio])


def lcm(schedule: Schedule, steps: int) -> Steps:
    """Consistency sampling in several steps (arXiv 2303.01469, algorithm 1), of distilled networks.

    x0 is taken to be the end of x's path. It is noised again with the noise that it says is in x,
    not with fresh noise: a table is all there is, and a frame does not depend on how it is made.
    That is DDIM from each trailing timestep to the next, which also is the solver that students
    are distilled with (`training.distillation`).
    """
    t = trailing_timesteps(steps)
    _, _, a, b = _to_next(schedule, t)
    return _steps(schedule, t, a, b)


# Those of distilled networks, whose prediction is the end of a path, and no others'.
CONSISTENCY = "lcm"
SAMPLERS: dict[str, Callable[[Schedule, int], Steps]] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    CONSISTENCY: lcm,
}
