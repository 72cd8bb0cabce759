"""A prepared dataset of synthetic clips, made without the face detector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emoji_jax.data import clips, shards, synthetic
from emoji_jax.data.parts import Part, PartWriter


def write(out: Path, frames: Sequence[int], size: int, splits: Sequence[str] = ()) -> Path:
    """Writes one clip for each number of frames; splits are all train unless given."""
    layout, parts = clips.features(), []
    for index, length in enumerate(frames):
        pictures, landmarks = synthetic.clip(5, 8 * index, length, size)
        clip = clips.Clip(
            frames=tuple(clips.encode_picture(picture) for picture in pictures),
            landmarks=landmarks,
            detected=np.ones(length, bool),
            box=(0, 0, size),
            name=f"clip {index}",
            identity=f"person {index}",
            licence="CC0-1.0",
        )
        path = out / "parts" / "00" / f"{index}.part"
        with PartWriter(path) as part:
            part.add(clips.serialise(clip, layout))
            part.finish({"input": clip.name, "identity": clip.identity, "reason": ""})
        found = Part.read(path)
        assert found
        parts.append(found)
    shards.finish(out, parts, splits or ["train"] * len(parts), "portraits", 2**20, layout)
    return out
