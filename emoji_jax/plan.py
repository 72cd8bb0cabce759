"""Which evaluations of the networks a sampler can do without, and what takes their place."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from emoji_jax.diffusion import TRAIN_STEPS


@dataclasses.dataclass(frozen=True)
class Cache:
    """Steps at which the UNet's lower resolutions are predicted from what they made before.

    A polynomial through the last full steps is followed (TaylorSeer, arXiv 2503.06923); the higher
    resolutions are run at every step (DeepCache, arXiv 2312.00858).

    Attributes:
      first: steps at the beginning that are computed in full, at least 1.
      every: of the later ones each so manyth is, and so is the last.
      order: of the polynomial, 0 to 2.
      depth: resolutions that are run at every step; 0: nothing but the last convolution.
    """

    first: int
    every: int
    order: int
    depth: int


CACHES: dict[str, Cache | None] = {
    "off": None,
    "safe": Cache(first=2, every=2, order=1, depth=1),
    "fast": Cache(first=2, every=3, order=1, depth=0),
}
# Full steps that are remembered.
REMEMBERED = 3


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is computed at each of a sampler's steps.

    Attributes:
      guided: whether there is guidance.
      full: whether all of the UNet is run.
      weights: at the other steps, of what the last three full ones made, the newest first.
      depth: see `Cache`.
    """

    guided: Bool[np.ndarray, " S"]
    full: Bool[np.ndarray, " S"]
    weights: Float[np.ndarray, "S 3"]
    depth: int = 0

    @property
    def skips(self) -> bool:
        """Whether there is a step that is not full."""
        return not self.full.all()

    def spans(self, most: int = 10) -> Iterator[tuple[bool, int, int]]:
        """Runs of steps with and without guidance, in pieces of at most a `most`th of all steps."""
        count = len(self.full)
        changes = np.flatnonzero(np.diff(self.guided)) + 1
        evenly = np.linspace(0, count, min(count, most) + 1).astype(int)
        stops = np.union1d(evenly, changes)
        for first, last in itertools.pairwise(stops):
            yield bool(self.guided[first]), int(first), int(last)


def plan(
    t: Int[np.ndarray, " S"],
    *,
    guidance: bool = True,
    interval: tuple[float, float] = (0.0, 1.0),
    cache: Cache | None = None,
) -> Plan:
    """The plan of a sampler.

    Args:
      t: its timesteps.
      guidance: whether there is any.
      interval: timesteps, as parts of all, between which there is (arXiv 2404.07724).
      cache: how to skip, if at all.
    """
    part = (np.asarray(t) + 1) / TRAIN_STEPS
    guided = (interval[0] <= part) & (part <= interval[1]) & guidance
    count = len(t)
    full, weights = np.ones(count, bool), np.zeros((count, REMEMBERED), np.float32)
    if cache is None:
        return Plan(guided, full, weights)
    known: list[int] = []
    for i in range(count):
        if i and guided[i] != guided[i - 1]:
            known = []  # of another number of samples
        since = i - known[0] if known else 0
        full[i] = i < cache.first or not known or since >= cache.every or i == count - 1
        if full[i]:
            known = [i, *known][:REMEMBERED]
        else:
            some = known[: cache.order + 1]
            weights[i, : len(some)] = _extrapolated(i, some)
    return Plan(guided, full, weights, cache.depth)


def _extrapolated(at: int, points: list[int]) -> list[float]:
    """Weights of values at some points, for the polynomial through them (Lagrange)."""
    return [
        float(np.prod([(at - other) / (one - other) for other in points if other != one]))
        for one in points
    ]
