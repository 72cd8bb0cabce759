"""Grain: clips to batches, the same for a seed however many processes and workers make them.

A batch has

    frames           [B F H W 3]  uint8
    reference        [B H W 3]    uint8    another frame of the clip, or one of them
    clip_pixels      [B P P 3]    float32  the reference as CLIP's vision tower wants it

or, of clips that were encoded beforehand, in place of these

    latents            [B F h w C]  float16  scaled means of the autoencoder
    reference_latents  [B h w C]    float16
    clip_tokens        [B N D]      float16  all tokens of CLIP's vision tower, of the reference

and in either case

    landmarks        [B F H W 3]  uint8    drawn; with `warped` [B F H W 6], see `warp`
    expression_mask  [B F h w 1]  uint8    0 or 1 (paper, 3.2)
    face_mask        [B F h w 1]  uint8    0 or 1
    clip             [B]          int64    index of the clip in the source
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from emoji_jax.data.encoded import EncodedClip
from emoji_jax.data.transforms import ExampleConfig, Footage, example

Batch = Mapping[str, np.ndarray]
# Without workers: of which each makes a batch.
_THREADS = 4


@runtime_checkable
class Source(Protocol):
    """Clips in an order that is the same everywhere; sent to workers, so it must pickle."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Footage | EncodedClip: ...


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """How batches are made.

    Attributes:
      batch: examples of all processes together.
      seed: of order and examples.
      shuffle: off for evaluation, which also takes every clip once.
      workers: processes that make batches; 0 makes them where they are used, by a few threads.
      buffer: batches that each worker keeps ready, beside the one that it makes.
    """

    batch: int
    seed: int = 0
    shuffle: bool = True
    workers: int = 0
    buffer: int = 1


class _MakeExample:
    """Reads a clip and makes an example of it; a class, so that workers can be sent it."""

    def __init__(self, source: Source, cfg: ExampleConfig):
        self.source, self.cfg = source, cfg

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        made = example(self.source[int(index)], rng, self.cfg)
        return {**made, "clip": np.asarray(index, np.int64)}


def batches(
    source: Source,
    cfg: PipelineConfig,
    example_cfg: ExampleConfig,
    *,
    process: int = 0,
    processes: int = 1,
    start: int = 0,
) -> Iterator[Batch]:
    """This process's part of every batch, without end if shuffled.

    Which examples are in a global batch, and what is in them, depends on the seed alone. The
    iterator is Grain's: its `get_state` and `set_state` go into a checkpoint.

    Args:
      source: the clips; indexable, in the same order everywhere.
      cfg: how batches are made.
      example_cfg: what an example is.
      process: which of the processes this is.
      processes: how many there are.
      start: batches that are passed over.

    Raises:
      ValueError: the batch can't be shared out evenly, or there are no clips.
    """
    import grain

    if not len(source):
        raise ValueError("there are no clips to make batches of")
    if cfg.batch % processes:
        raise ValueError(f"a batch of {cfg.batch} can't be shared by {processes} processes")
    data: Any = grain.MapDataset.range(len(source)).seed(cfg.seed)
    if cfg.shuffle:
        data = data.shuffle().repeat()
    # Random numbers come from the place in the whole stream, therefore before it is shared out.
    data = data.random_map(_MakeExample(source, example_cfg))
    # Parts of batches: each process has its own, at the same place however many there are.
    data = data.batch(cfg.batch // processes, drop_remainder=cfg.shuffle)
    data = data[start * processes + process :: processes]
    threads = 0 if cfg.workers else _THREADS
    # Grain's own choice of 500 batches ahead takes more memory than there is.
    data = data.to_iter_dataset(grain.ReadOptions(threads, prefetch_buffer_size=threads))
    if cfg.workers:
        options = grain.multiprocessing.MultiprocessingOptions(
            num_workers=cfg.workers, per_worker_buffer_size=cfg.buffer
        )
        data = data.mp_prefetch(options)
    return iter(data)
