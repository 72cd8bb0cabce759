"""Samples that one core makes in a second, and how many cores a training step needs.

python benchmarks/data.py --json

One process on one core makes examples of the pipeline: of prepared pictures, of the same encoded
beforehand, and of synthetic portraits. Time is the processor's, so that others on the machine
matter little; files come from the page cache. Without --data, a dataset is made of synthetic
portraits with as much noise as makes their files as large as photographs'.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from emoji_jax.data import clips, encoded, shards, synthetic
from emoji_jax.data.parts import Part, PartWriter
from emoji_jax.data.pipeline import Source
from emoji_jax.data.sources import Prepared, Synthetic
from emoji_jax.data.transforms import ExampleConfig, example

# Of the stored clips; a dataset's are up to 128 frames long.
CLIPS, FRAMES = 3, 96
# Latents and CLIP tokens as the released networks make them, and the distance of the latter.
FACTOR, CHANNELS, TOKENS, EVERY = 8, 4, (257, 1024), 8


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--data", type=Path, help="a prepared dataset of pictures of --size")
    parser.add_argument("--size", type=int, default=512, help="of the pictures")
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 16], help="of a sample")
    parser.add_argument("--batch", type=int, default=32, help="samples in a step")
    parser.add_argument("--step", type=float, default=1.0, help="seconds that it takes")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each row is measured for")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or write_pictures(Path(folder) / "pictures", args.size)
        pictures = Prepared(data, "train")
        sources = {
            "pictures": pictures,
            "encoded": write_encoded(Path(folder) / "encoded", pictures, args.size),
            "synthetic": Synthetic(0, 0, 8000, 48, args.size),
        }
        print(f"{'source':10} {'F':>3} {'samples/s':>10} {'ms/sample':>10} {'cores':>6}")
        for frames in args.frames:
            for name, source in sources.items():
                seconds = measure(source, frames, args.size, args.seconds)
                cores = args.batch * seconds / args.step
                print(
                    f"{name:10} {frames:3} {1 / seconds:10.1f} {1000 * seconds:10.1f} {cores:6.1f}"
                )
                rows.append({"source": name, "frames": frames, "ms": round(1000 * seconds, 1)})
    print(
        "cores = batch x ms per sample / 1000 / seconds per step, here for batches of "
        f"{args.batch} and steps of {args.step:g} s; {args.size} pixels"
    )
    if args.json:
        told = {"size": args.size, "batch": args.batch, "step_s": args.step, "rows": rows}
        print(json.dumps(told))


def measure(source: Source, frames: int, size: int, seconds: float) -> float:
    """Processor time of an example, on average."""
    cfg = ExampleConfig(frames, size, FACTOR, max_stride=4)
    made, start = 0, 0.0
    while time.process_time() - start < seconds or made < 5:
        if made == 1:  # the first one also imports and fills tables
            start = time.process_time()
        example(source[made % len(source)], np.random.default_rng(made), cfg)
        made += 1
    return (time.process_time() - start) / (made - 1)


def write_pictures(out: Path, size: int) -> Path:
    """A dataset of synthetic portraits."""
    rng, layout, records = np.random.default_rng(0), clips.features(), []
    for index in range(CLIPS):
        pictures, landmarks = synthetic.clip(0, 8 * index, FRAMES, size)
        noisy = (picture + rng.normal(0, 3, picture.shape) for picture in pictures)
        clip = clips.Clip(
            frames=tuple(
                clips.encode_picture(picture.clip(0, 255).astype(np.uint8)) for picture in noisy
            ),
            landmarks=landmarks,
            detected=np.ones(FRAMES, bool),
            box=(0, 0, size),
            name=f"clip {index}",
            identity=f"person {index}",
        )
        records.append(clips.serialise(clip, layout))
    write(out, records, layout)
    kilobytes = np.mean([len(record) for record in records]) / FRAMES / 1000
    print(f"{CLIPS} clips of {FRAMES} frames, {kilobytes:.0f} kB a frame")
    return out


def write_encoded(out: Path, pictures: Prepared, size: int) -> Prepared:
    """The same clips with random numbers for latents and tokens."""
    rng, layout, records = np.random.default_rng(0), encoded.features(), []
    side = size // FACTOR
    for index in range(min(len(pictures), CLIPS)):
        record = pictures.record(index)
        references = np.arange(0, len(record["frames"]), EVERY)
        latents = rng.normal(size=(len(record["frames"]), side, side, CHANNELS))
        tokens = rng.normal(size=(len(references), *TOKENS))
        halves = latents.astype(np.float16), references, tokens.astype(np.float16)
        records.append(clips.pack(encoded.encode(record, *halves), layout))
    out.mkdir()
    encoded.EncodedConfig(size, FACTOR, 224, EVERY, "", "").write(out)
    write(out, records, layout)
    return Prepared(out, "train")


def write(out: Path, records: list[bytes], layout: Any) -> None:
    """A dataset of records, each in a part of its own."""
    parts = []
    for index, record in enumerate(records):
        with PartWriter(out / "parts" / "00" / f"{index}.part") as part:
            part.add(record)
            part.finish({"reason": ""})
        parts.append(Part.read(part.path))
    shards.finish(out, parts, ["train"] * len(parts), "benchmark", 2**29, layout)


if __name__ == "__main__":
    main()
