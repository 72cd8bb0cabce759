"""What a run is measured by: the same held-out examples with the same noise every time."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from emoji_jax import checkpoint
from emoji_jax.programs import Programs
from emoji_jax.training import sharding
from emoji_jax.training.state import TrainState

HostBatch = Mapping[str, np.ndarray]


class Validation:
    """Metrics and pictures of held-out clips.

    Args:
      objective: as `step.objective` returns it.
      programs: the networks compiled for sampling; their parameters are replaced.
      shapes: of the networks' parameters.
      picture: draws a batch.
      batches: this process's part of each held-out batch.
      mesh: the devices.
    """

    def __init__(
        self,
        objective: Callable[..., Any],
        programs: Programs,
        shapes: nnx.State,
        picture: Callable[[Programs, HostBatch], np.ndarray],
        batches: Iterable[HostBatch],
        mesh: Mesh,
    ):
        self._function = jax.jit(objective)
        self._programs, self._shapes, self._picture = programs, shapes, picture
        self.batches, self._mesh = list(batches), mesh

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Means over all batches, as `validation_NAME`."""
        found: dict[str, list[float]] = {}
        trained = state.average or state.trained
        for i, batch in enumerate(self.batches):
            placed = sharding.place_batch(batch, self._mesh)
            value, metrics = self._function(trained, state.beside, placed, jax.random.key(i))
            metrics.pop("examples")
            for name, x in {"loss": value, **metrics}.items():
                found.setdefault(f"validation_{name}", []).append(float(x))
        return {name: float(np.mean(values)) for name, values in found.items()}

    def picture(self, state: TrainState, clips: int, frames: int) -> np.ndarray:
        """The first clips with their first frames; made by one device of every process."""
        parameters = dict(state.best)
        if self._mesh.size > 1:
            parameters = multihost_utils.process_allgather(parameters, tiled=True)
        # Once, and not with every call of a program.
        parameters = jax.device_put(parameters, jax.local_devices()[0])
        self._programs.parameters = checkpoint.unflatten(self._shapes, parameters)
        whole = ("reference", "clip_pixels", "reference_latents", "clip_tokens", "clip")
        batch = {
            name: x[:clips] if name in whole else x[:clips, :frames]
            for name, x in self.batches[0].items()
        }
        return self._picture(self._programs, batch)
