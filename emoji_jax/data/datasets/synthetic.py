"""Synthetic people, painted: nothing has to be detected, as the rig knows its own landmarks."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emoji_jax.data import synthetic
from emoji_jax.data.datasets import ReaderConfig, Unit
from emoji_jax.landmarks import Landmarks


@dataclasses.dataclass(frozen=True)
class Painted:
    """A clip of `synthetic.clip`."""

    seed: int
    index: int
    count: int

    def clip(self, size: int) -> tuple[UInt8[np.ndarray, "F H W 3"], Landmarks]:
        """Its pictures and their landmarks."""
        return synthetic.clip(self.seed, self.index, self.count, (size, size))


def units(_: Path, config: ReaderConfig) -> Iterator[Unit]:
    """Clips of `people` synthetic people, `poses` frames each."""
    for index in range(config.people * synthetic.CLIPS_PER_IDENTITY):
        person = index // synthetic.CLIPS_PER_IDENTITY
        yield Unit(
            name=f"synthetic/{config.seed}/{index:07}",
            path="",
            identity=f"synthetic {config.seed} {person}",
            source="emoji_jax.data.synthetic",
            licence="CC0: made by a program",
            painting=Painted(config.seed, index, config.poses),
        )
