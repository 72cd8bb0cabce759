"""Latent consistency distillation (arXiv 2310.04378): few steps, with guidance built in.

A student learns to tell from any point of a path to clean latents where the path ends. Paths are
those of a teacher under classifier-free guidance: what a student says at one timestep shall be what
it says after the teacher's step to the next.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from emoji_jax import diffusion
from emoji_jax.generate import guided_velocity
from emoji_jax.models.emoji import Emoji
from emoji_jax.models.unet import Conditions
from emoji_jax.training import animation
from emoji_jax.training.animation import AnimationConfig, Batch, Samples
from emoji_jax.training.losses import per_sample, pseudo_huber, region_means


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """What a student is to its teacher.

    Attributes:
      steps: that it takes when it samples, as its checkpoint notes.
      intervals: N, steps that the teacher takes from noise to clean latents; the student learns at
        their timesteps.
      guidance_scale: the teacher's.
      huber: where the distance passes from squares to absolute values; 0: squares.
      target: "average", the student's running average, or "student", itself without a gradient.
    """

    steps: int = 4
    intervals: int = 40
    guidance_scale: float = 3.5
    huber: float = 1e-3
    target: str = "average"


@dataclasses.dataclass(frozen=True)
class Grid:
    """P = N + 1 points between which a teacher steps: timesteps, noisiest first, and clean latents.

    Attributes:
      t: timesteps; what stands for the clean one does not matter.
      alpha: and
      sigma: at these points; at last 1 and 0.
      rows: of the teacher's steps (`Steps.rows`).
    """

    t: Int[np.ndarray, " P"]
    alpha: Float[np.ndarray, " P"]
    sigma: Float[np.ndarray, " P"]
    rows: Float[np.ndarray, "N 6"]

    @classmethod
    def of(cls, schedule: diffusion.Schedule, intervals: int) -> "Grid":
        """With equal intervals, of which the last ends at clean latents."""
        steps = diffusion.lcm(schedule, intervals)
        t, alpha, sigma = (
            np.append(x, x.dtype.type(end))
            for x, end in ((steps.t, 0), (steps.alpha, 1), (steps.sigma, 0))
        )
        return cls(t, alpha, sigma, steps.rows())

    def end(self, x: Array, v: Array, point: Int[Array, " B"]) -> Float[Array, "B ..."]:
        """Where paths end: the consistency function f(x, t) = alpha x - sigma v.

        For velocities that is c_skip x + c_out F with c_skip = alpha and c_out = -sigma (arXiv
        2410.11081, TrigFlow): at clean latents it is x itself, whatever the network says.
        """
        alpha, sigma = (_column(table, point, x) for table in (self.alpha, self.sigma))
        return alpha * x - sigma * v

    def step(self, x: Array, v: Array, point: Int[Array, " B"]) -> Float[Array, "B ..."]:
        """Latents at the next point, by one step of DDIM along a velocity."""
        row = [_column(column, point, x) for column in self.rows.T]
        return diffusion.update(row, x, v, (jnp.zeros_like(x), jnp.zeros_like(x)))[0]


def _column(table: np.ndarray, point: Array, like: Array) -> Array:
    return jnp.asarray(table)[point].reshape(-1, *(1,) * (like.ndim - 1))


def loss(
    model: Emoji,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    teacher: Emoji,
    average: Emoji | None = None,
    cfg: DistillationConfig,
    stage: AnimationConfig,
    schedule: diffusion.Schedule,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The consistency distillation loss of a batch (arXiv 2310.04378, algorithm 1).

    Distances of clean latents count as in eq. 1 of arXiv 2406.01900: everywhere, and again under
    the expression mask and the face mask.

    Args:
      model: the student.
      batch: of `pipeline.batches`.
      key: of the draws.
      teacher: has other weights in its UNet, and nowhere else.
      average: who says where the path ends after the teacher's step; by default the student.
      cfg: of the distillation.
      stage: which frames are given and which masks count, as in the stage before. Noise has no
        offset, as when sampling.
      schedule: of the noise.

    Returns:
      The loss, and metrics: numbers, and `examples`, the loss of each sample of the batch.
    """
    keys = iter(jax.random.split(key, 6))
    models = [model, teacher, average or model]
    # Without a portrait there would be nothing to be guided to.
    shown = animation.samples(models, batch, keys, dataclasses.replace(stage, drop=0.0))
    x0, (own, theirs, averaged) = shown.x0, shown.conditions
    grid = Grid.of(schedule, cfg.intervals)
    point = jax.random.randint(next(keys), (len(x0),), 0, cfg.intervals)
    t, t_next = (jnp.asarray(grid.t)[p] for p in (point, point + 1))
    x = jnp.asarray(diffusion.add_noise(schedule, x0, animation.noise(keys, x0, 0.0), t))
    x_next = grid.step(x, _velocity(teacher, theirs, shown, x, t, cfg.guidance_scale), point)
    told = grid.end(x, _velocity(model, own, shown, x, t), point)
    target = grid.end(x_next, _velocity(models[2], averaged, shown, x_next, t_next), point + 1)
    difference = told - jax.lax.stop_gradient(target)
    expression, face = shown.masks
    facial = stage.expression_mask * expression + stage.face_mask * face
    whole = per_sample(pseudo_huber(difference, cfg.huber))
    masked = per_sample(pseudo_huber(facial * difference, cfg.huber))
    total = whole + stage.ffg * masked
    truth = region_means(jnp.square(told - x0), expression, face)
    return total.mean(), {
        "examples": total.reshape(len(batch["landmarks"]), -1).mean(1),
        "loss_consistency": whole.mean(),
        "loss_ffg": masked.mean(),
        **{f"x0_{region}": mean for region, mean in truth.items()},
    }


def _velocity(
    model: Emoji,
    conditions: Conditions,
    shown: Samples,
    x: Array,
    t: Array,
    scale: float = 1.0,
) -> Array:
    guided = scale != 1
    seen = model.with_unconditional(conditions) if guided else conditions
    return guided_velocity(
        model, seen, x, shown.mask_channels, t, jnp.float32(scale), guided=guided
    )[0]
