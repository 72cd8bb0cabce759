"""Encodes a prepared dataset: latents of all frames, CLIP tokens of some, clip by clip."""

import collections
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float16, UInt8
from tqdm import tqdm

from emoji_jax import checkpoint
from emoji_jax.data import clips, encoded, shards
from emoji_jax.data.parts import Part, PartWriter, locked, writing
from emoji_jax.data.sources import Prepared, splits
from emoji_jax.data.transforms import cut
from emoji_jax.errors import UserError
from emoji_jax.images import clip_pixels
from emoji_jax.models.emoji import Encoders, abstract
from emoji_jax.models.vae import to_unit

_FORMAT = 1  # of parts; those of another one are made again


class Encoder:
    """Autoencoder and CLIP of a checkpoint, on all devices of this machine.

    Args:
      directory: of the checkpoint.
      size: side of the pictures, pixels; by default what the checkpoint is meant for.
      every: see `encoded.EncodedConfig`.
      batch: pictures that are encoded at a time, at least.

    Raises:
      UserError: no checkpoint, or a size that it can't encode.
    """

    def __init__(self, directory: Path, size: int | None, every: int, batch: int):
        directory = checkpoint.find(directory.absolute())
        self.cfg = cfg = checkpoint.read_config(directory)
        size = size or cfg.size[0]
        if size < 1 or size % cfg.vae.factor:
            raise UserError(f"config.size is {size}; expected a multiple of {cfg.vae.factor}")
        graph, state = abstract(cfg, kind=Encoders)
        for name in state:
            shapes = checkpoint.flatten(state[name])
            weights = checkpoint.restore(directory / name, shapes)
            nnx.update(state[name], checkpoint.unflatten(state[name], weights))
        self.config = encoded.describe(
            checkpoint.flatten(state),
            size=size,
            factor=cfg.vae.factor,
            scaling=cfg.vae.scaling,
            clip_size=cfg.clip.image_size,
            every=every,
        )
        devices = jax.local_devices()
        # Auto: the networks don't speak of shardings.
        auto = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((len(devices),), ("data",), auto, devices=devices)
        copied, self._shared = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
            for axes in ((), ("data",))
        )
        self._parameters = jax.device_put(state, copied)
        self._batch = -(-batch // len(devices)) * len(devices)

        def latents(parameters: nnx.State, pictures: Array) -> Array:
            vae = nnx.merge(graph, parameters).vae
            return vae.encode(to_unit(pictures)).astype(jnp.float16)

        def tokens(parameters: nnx.State, pixels: Array) -> Array:
            return nnx.merge(graph, parameters).clip(pixels).astype(jnp.float16)

        self._latents, self._tokens = jax.jit(latents), jax.jit(tokens)

    def latents(self, pictures: UInt8[np.ndarray, "N H W 3"]) -> Float16[np.ndarray, "N h w C"]:
        """Scaled means of the latents of pictures."""
        return self._run(self._latents, pictures)

    def tokens(self, pixels: Float[np.ndarray, "N P P 3"]) -> Float16[np.ndarray, "N T D"]:
        """All tokens of CLIP's vision tower of pictures as `clip_pixels` makes them."""
        return self._run(self._tokens, pixels)

    def _run(self, program: Any, pictures: np.ndarray) -> np.ndarray:
        """Runs a program batch by batch, the last one filled up: it is compiled once."""
        outputs = []
        for first in range(0, len(pictures), self._batch):
            part = pictures[first : first + self._batch]
            missing = self._batch - len(part)
            part = np.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1))
            # On accelerators, matrix products of shortened numbers would be seen in float16.
            with jax.default_matmul_precision("high"):
                outputs.append(program(self._parameters, jax.device_put(part, self._shared)))
        return np.concatenate(jax.device_get(outputs))[: len(pictures)]


class Work(NamedTuple):
    """A clip that is to be encoded, or its finished part."""

    path: Path
    record: Any
    pictures: np.ndarray | None = None
    pixels: np.ndarray | None = None


def _read(source: Prepared, index: int, out: Path, config: encoded.EncodedConfig) -> Work:
    """Reads a clip; only one that has no part yet is decompressed."""
    record = source.record(index)
    digest = hashlib.sha256(json.dumps([_FORMAT, repr(config)]).encode())
    for picture in [*record["frames"], np.asarray(record["points"]).tobytes()]:
        digest.update(picture)
    digest.update("\n".join(clips.text(record[name]) for name in clips.TEXTS).encode())
    name = digest.hexdigest()[:32]
    path = out / "parts" / name[:2] / f"{name}.part"
    if Part.read(path):
        return Work(path, record)
    frames = clips.decode_frames(record, range(len(record["frames"])))
    pictures = np.stack([cut(frame, config.size) for frame in frames])
    chosen = pictures[:: config.every]
    pixels = np.stack([clip_pixels(picture, config.clip_size) for picture in chosen])
    return Work(path, record, pictures, pixels)


def _ahead(work: Iterable[tuple[Prepared, int]], threads: int, *args: Any) -> Iterator[Work]:
    """Clips in order, read by threads a little ahead of need."""
    with ThreadPoolExecutor(threads) as executor:
        waiting: collections.deque[Future[Work]] = collections.deque()
        for source, index in work:
            waiting.append(executor.submit(_read, source, index, *args))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _write(work: Work, encoder: Encoder, layout: Any) -> None:
    """Encodes a clip and writes its part."""
    assert work.pictures is not None and work.pixels is not None
    latents, tokens = encoder.latents(work.pictures), encoder.tokens(work.pixels)
    name = clips.text(work.record["name"])
    if not (np.isfinite(latents).all() and np.isfinite(tokens).all()):
        raise UserError(f"{name} has latents or tokens that are no numbers; are the weights right?")
    references = np.arange(0, len(latents), encoder.config.every)
    record = encoded.encode(work.record, latents, references, tokens)
    report = {"input": name, **{key: record[key] for key in clips.TEXTS if key != "name"}}
    report |= {"status": "kept", "reason": "", "clips": 1, "frames": len(latents)}
    with PartWriter(work.path) as part:
        part.add(clips.pack(record, layout))
        part.finish(report)


def encode(data: Path, out: Path, encoder: Encoder, *, threads: int, name: str, size: int) -> int:
    """Encodes all clips of a dataset; goes on where an earlier run was stopped.

    Args:
      data: folder of the prepared dataset.
      out: folder for the encoded one; another.
      encoder: the networks.
      threads: that read clips.
      name: of the dataset.
      size: of its files, bytes, about.

    Returns:
      How many clips there are.

    Raises:
      UserError: nothing to encode, or the folder has something else or can't be written.
    """
    sources = {split: Prepared(data, split) for split in splits(data)}
    if not sources or any(source.encoded for source in sources.values()):
        what = "encoded clips already" if sources else "no prepared clips"
        raise UserError(f"{data} has {what}; expected what `python -m emoji_jax.prepare` wrote")
    if splits(out) and not encoded.EncodedConfig.exists(out):
        raise UserError(f"{out} has a dataset of pictures; give another --out")
    work = [(source, i) for source in sources.values() for i in range(len(source))]
    layout, paths = encoded.features(), list[Path]()
    with locked(out):
        ahead = _ahead(work, threads, out, encoder.config)
        for item in tqdm(ahead, desc="clips", total=len(work), file=sys.stderr):
            if item.pictures is not None:
                _write(item, encoder, layout)
            paths.append(item.path)
        parts = [part for path in paths if (part := Part.read(path))]
        if len(parts) < len(paths):
            raise RuntimeError(f"{len(paths) - len(parts)} parts are missing after the run")
        of_split = [split for split, source in sources.items() for _ in range(len(source))]
        with writing(out):
            encoder.config.write(out)
        shards.finish(out, parts, of_split, name, size, layout)
    return len(parts)
