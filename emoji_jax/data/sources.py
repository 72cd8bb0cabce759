"""Clips for the pipeline: prepared shards, synthetic portraits made on the spot, and mixtures."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from emoji_jax.data import clips, synthetic
from emoji_jax.data.encoded import EncodedClip, EncodedConfig
from emoji_jax.data.pipeline import Source
from emoji_jax.data.transforms import Footage
from emoji_jax.errors import UserError
from emoji_jax.landmarks import Landmarks


@dataclasses.dataclass(frozen=True)
class SyntheticClip:
    """A synthetic clip of which only the frames that are asked for are painted."""

    seed: int
    index: int
    frames: int
    size: int

    @functools.cached_property
    def _movement(self) -> synthetic.Expression:
        return synthetic.random_movement(self.seed, self.index, self.frames)

    @functools.cached_property
    def _person(self) -> synthetic.Identity:
        return synthetic.portrait(self.seed, self.index)

    def _at(self, frames: Int[np.ndarray, " N"]) -> synthetic.Expression:
        return synthetic.Expression.of(self._movement.array(self.frames)[frames])

    def __len__(self) -> int:
        return self.frames

    def points(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 3"]:
        """Landmarks of some frames, in parts of the picture's side."""
        size = (self.size, self.size)
        return synthetic.landmarks(self._at(frames), size, self._person).points

    def pictures(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The pictures of some frames."""
        return synthetic.render(self._person, self._at(frames), (self.size, self.size))


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Synthetic clips, numbered from `first` on: another range is another set of people.

    Attributes:
      seed: of the collection.
      first: number of the first clip, a multiple of `synthetic.CLIPS_PER_IDENTITY`.
      count: how many clips.
      frames: of each clip.
      size: side of the pictures, pixels.
    """

    seed: int
    first: int
    count: int
    frames: int
    size: int

    def __post_init__(self):
        if self.first % synthetic.CLIPS_PER_IDENTITY:
            raise ValueError(f"clip {self.first} is not the first one of a person")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SyntheticClip:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return SyntheticClip(self.seed, self.first + index, self.frames, self.size)


class PreparedClip:
    """A stored clip of which only the pictures that are asked for are decompressed."""

    def __init__(self, record: Mapping[str, Any]):
        self._record = record

    def __len__(self) -> int:
        return len(self._record["frames"])

    @property
    def identity(self) -> str:
        """Whom it shows."""
        return self._record["identity"].decode()

    @property
    def landmarks(self) -> Landmarks:
        """Of every frame."""
        return clips.decode_landmarks(self._record)

    def points(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 3"]:
        """Landmarks of some frames, in parts of the picture's side."""
        return np.asarray(self._record["points"])[frames]

    def pictures(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The pictures of some frames."""
        return clips.decode_frames(self._record, [int(i) for i in frames])


def splits(directory: str | Path) -> Mapping[str, Any]:
    """The splits that have prepared clips; none if it is no such folder."""
    import tensorflow_datasets as tfds

    if not (Path(directory) / "dataset_info.json").is_file():
        return {}
    return tfds.builder_from_directory(str(directory)).info.splits


class Prepared:
    """The shards of one split that `python -m emoji_jax.prepare` or `.encode` wrote.

    Attributes:
      directory: the folder.
      encoded: what encoded the clips; None if they are pictures.

    Raises:
      UserError: there are none.
    """

    def __init__(self, directory: str | Path, split: str):
        import tensorflow_datasets as tfds

        if split not in splits(directory):
            raise UserError(
                f"{directory} has no prepared clips for {split}; expected a folder that "
                "`python -m emoji_jax.prepare` wrote"
            )
        self.directory = Path(directory)
        self.encoded = EncodedConfig.read(self.directory)
        builder: Any = tfds.builder_from_directory(str(directory))
        self._source = builder.as_data_source(split)

    def __len__(self) -> int:
        return len(self._source)

    def record(self, index: int) -> Mapping[str, Any]:
        """A clip as it is stored; see `clips.decode`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._source[int(index)]
        except (OSError, RuntimeError, ValueError) as error:  # all three are readers' for damage
            reason = str(error).strip().splitlines()[-1][:200]
            raise UserError(f"{self.directory}: clip {index} can't be read: {reason}") from None

    def __getitem__(self, index: int) -> PreparedClip | EncodedClip:
        record = self.record(index)
        return EncodedClip(record) if self.encoded else PreparedClip(record)


class Mixture:
    """Clips of several sources, evenly interleaved.

    It is as long as it takes until every source has been gone through; the others begin anew.

    Args:
      sources: none of them empty.
      weights: of each, how often it is drawn from, relative to the others.

    Raises:
      ValueError: no sources, an empty one, or weights that are not positive numbers, one for each.
      UserError: some clips are encoded, others pictures.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]):
        if not sources or not all(len(source) for source in sources):
            raise ValueError("a mixture needs sources, each with clips")
        if len(weights) != len(sources) or not all(0 < w < math.inf for w in weights):
            raise ValueError(f"weights are {weights}; expected {len(sources)} positive numbers")
        if len({isinstance(source[0], EncodedClip) for source in sources}) > 1:
            raise UserError(
                "encoded clips can't be mixed with pictures: encode all or none of them"
            )
        self.sources = tuple(sources)
        # Fractions: which clip is where must not depend on how a machine rounds.
        exact = [Fraction(str(weight)) for weight in weights]
        total = sum(exact)
        # Of a source and all that come after it, the part that falls to it.
        self._shares = [weight / sum(exact[i:]) for i, weight in enumerate(exact)]
        self._length = max(
            math.ceil(len(source) * total / weight)
            for source, weight in zip(sources, exact, strict=True)
        )

    def __len__(self) -> int:
        return self._length

    def locate(self, index: int) -> tuple[int, int]:
        """Which source a clip comes from, and its index there."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        place = int(index)
        for number, share in enumerate(self._shares):
            before = math.floor(place * share)
            if math.floor((place + 1) * share) > before:
                return number, before % len(self.sources[number])
            place -= before
        raise AssertionError("the last share is one")

    def __getitem__(self, index: int) -> Footage | EncodedClip:
        number, place = self.locate(index)
        return self.sources[number][place]


def name(source: Source, index: int) -> str:
    """What a clip of a source is called in messages: its dataset, and its number there."""
    if isinstance(source, Mixture):
        number, place = source.locate(index)
        return name(source.sources[number], place)
    kind = source.directory.name if isinstance(source, Prepared) else "synthetic"
    return f"{kind} {index}"


def check_encoded(source: Source, networks: Callable[[], EncodedConfig]) -> None:
    """Raises a UserError if clips of a source were encoded by other networks than these.

    Args:
      source: clips, encoded or not.
      networks: what `encoded.describe` says of the networks; called only if there is need.
    """
    if isinstance(source, Mixture):
        for part in source.sources:
            check_encoded(part, networks)
    elif isinstance(source, Prepared) and source.encoded:
        source.encoded.check(source.directory, networks())
