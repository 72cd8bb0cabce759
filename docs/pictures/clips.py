"""Makes clips.webp, parts of training examples, and motions.webp, landmarks over time.

python docs/pictures/clips.py DATASET VIDEO

DATASET is what `python -m emoji_jax.prepare --dataset=fluent --config.crop.size=128` made of the
animated Fluent emoji (MIT). VIDEO shows a filmed face; of it, only landmarks get into a picture.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax.data import clips, cutting
from emoji_jax.data.crop import CropConfig
from emoji_jax.data.datasets import Unit
from emoji_jax.data.sources import Prepared, PreparedClip, Synthetic
from emoji_jax.data.transforms import ExampleConfig, Footage, example
from emoji_jax.images import read_image
from emoji_jax.landmarks import Detector, draw

HERE = Path(__file__).parent
PORTRAIT = HERE.parent.parent / "tests" / "golden" / "landmarks" / "astronaut.jpg"
SIZE, COLUMNS = 128, 8
EMOJI = ("1f633", "1f928", "1f468-1f3ff-200d-1f3a4", "1f43c", "1f385", "1f467", "1f934-1f3fc")
# Between pictures, pixels.
GAP = 3


def prepared(source: Path) -> PreparedClip:
    """The first clip of a video, or of a folder of stills, as preparation makes it."""
    unit = Unit("clip", str(source), identity="", licence="", source="")
    wanted = cutting.PrepareConfig(crop=CropConfig(size=SIZE))
    with Detector() as detector:
        clip = next(cutting.make_clips(unit, detector.detect_all, wanted, {}))
    return PreparedClip(clips.encode(clip))


def still(path: Path) -> PreparedClip:
    """A portrait as a clip of as many frames as preparation wants."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(16):
            Image.fromarray(read_image(path)).save(Path(folder) / f"{i:02d}.png")
        return prepared(Path(folder))


def emoji(dataset: Prepared) -> Iterator[PreparedClip]:
    """The chosen emoji that the dataset has."""
    names = {}
    for index in range(len(dataset)):
        record = dataset.record(index)
        names.setdefault(Path(clips.text(record["name"]).split("#")[0]).stem, record)
    yield from (PreparedClip(names[name]) for name in EMOJI if name in names)


def lit(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture, dark where a mask of latents is 0."""
    factor = len(picture) // len(mask)
    whole = mask.repeat(factor, 0).repeat(factor, 1)
    return np.where(whole, picture, picture // 5)


def parts(clip: Footage, seed: int) -> list[np.ndarray]:
    """One example: frame, landmarks over it, and what either mask marks."""
    made = example(clip, np.random.default_rng(seed), ExampleConfig(size=SIZE, factor=4))
    frame, drawn = made["frames"][0], made["landmarks"][0]
    over = np.where(drawn.any(-1, keepdims=True), drawn, frame // 4)
    masked = [lit(frame, made[name][0]) for name in ("expression_mask", "face_mask")]
    return [frame, over, *masked]


def motion(clip: Footage) -> list[np.ndarray]:
    """Landmarks at equal distances in time."""
    chosen = np.linspace(0, len(clip) - 1, COLUMNS).round().astype(int)
    points = clip.points(chosen)[..., :2].astype(np.float64) * SIZE
    return list(draw(points, (SIZE, SIZE), pupil_radius=1))


def save(rows: list[list[np.ndarray]], name: str, **options: int | bool) -> None:
    """Writes rows of pictures as one."""
    edge = [(0, GAP), (0, GAP), (0, 0)]
    padded = [[np.pad(cell, edge, constant_values=255) for cell in row] for row in rows]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in padded])[:-GAP, :-GAP]
    path = HERE / f"{name}.webp"
    Image.fromarray(sheet).save(path, method=6, **options)
    print(f"{path.name}: {sheet.shape[1]}x{sheet.shape[0]}, {path.stat().st_size / 1000:.0f} kB")


def main(dataset: str, video: str) -> None:
    """Writes both sheets beside this file."""
    people = Synthetic(3, 0, 800, 48, SIZE)
    drawn, faces = list(emoji(Prepared(dataset, "train"))), still(PORTRAIT)
    shown = [*drawn, faces, people[0], people[8], people[24], people[72]]
    cells = [parts(clip, seed) for seed, clip in enumerate(shown)]
    half = (len(cells) + 1) // 2
    save([a + b for a, b in zip(cells[:half], cells[half:], strict=False)], "clips", quality=80)
    moving = [people[1], prepared(Path(video)), drawn[2]]
    save([motion(clip) for clip in moving], "motions", lossless=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
