"""EmojiBench-mini: a benchmark for a CPU, of what may be passed on.

People painted by `emoji_jax.data.synthetic` that no training has seen, and from the folder
`material` Fluent emoji (MIT, Microsoft Corporation) and avatars (CC0 1.0) of the held-out splits.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emoji_jax import assets
from emoji_jax.bench import build, folder
from emoji_jax.bench.build import BenchConfig
from emoji_jax.bench.folder import Bench, Clip
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.images import Picture, read_image
from emoji_jax.video import open_video

NAME = "EmojiBench-mini"
CHECKSUM = "708b0853bea13fe30af0d1e3771b60a42056c2134b6c6fb093f5080379ff9422"
"""As this project makes it; another platform's rounding may paint a pixel differently."""

CONFIG = BenchConfig(NAME, size=128, frames=16, drivers_each=2)
MATERIAL = Path(__file__).with_name("material")
# No training takes this seed: prepared datasets and the endless supply have others.
_SEED = 410_045
_CLIPS, _PORTRAITS = 6, 4


def make(out: Path) -> Bench:
    """Writes it to a new folder.

    Raises:
      UserError: it exists, or can't be written.
    """
    return build.write(out, CONFIG, _stills(), _clips())


def fetch() -> Bench:
    """The one in the cache; made if it is not there, or not as it should be."""
    # Another version's is another folder.
    path = assets.cache() / f"{NAME}-{CHECKSUM[:12]}"
    if path.exists():
        try:
            return folder.read(path)
        except UserError as damage:
            print(f"{path} is made again: {damage}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:
            path.rename(Path(aside) / "damaged")
    try:
        return make(path)
    except UserError:
        if path.exists():  # another process was faster
            return folder.read(path)
        raise


def _stills() -> Iterator[tuple[str, str, Picture]]:
    for i in range(_PORTRAITS):
        person = synthetic.portrait(_SEED, i, synthetic.STYLES[i % len(synthetic.STYLES)])
        still = synthetic.random_movement(_SEED, i, 1)
        (picture,) = synthetic.render(person, still, (CONFIG.size, CONFIG.size))
        yield f"synthetic_{person.style}", person.style, picture
    for path in sorted((MATERIAL / folder.PORTRAITS).glob("*.png")):
        yield path.stem, path.stem.split("_")[0], read_image(path)


def _clips() -> Iterator[tuple[str, Clip]]:
    for i in range(_CLIPS):
        # Every person has several clips: one of each.
        index = (_PORTRAITS + i) * synthetic.CLIPS_PER_IDENTITY
        frames, _ = synthetic.clip(_SEED, index, 3 * CONFIG.frames + 1, CONFIG.size)
        yield f"synthetic_{i}", frames[::3]
    for path in sorted((MATERIAL / folder.DRIVERS).glob("*.webp")):
        yield path.stem, np.stack([frame for frame, _ in open_video(path)])
