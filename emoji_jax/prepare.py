"""Makes a training dataset of a folder of videos.

python -m emoji_jax.prepare --videos videos --out dataset
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from emoji_jax import command
from emoji_jax import config as config_file
from emoji_jax.errors import UserError

_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of videos, animated images and folders of frames; avatars need none."
)
_OUT = flags.DEFINE_string("out", None, "Folder for the dataset and its report.jsonl.")
_DATASET = flags.DEFINE_string(
    "dataset",
    "folder",
    "How the videos are arranged: folder (in any way), hdtf, vfhq, recordings (named by subject "
    "and expression), fluent (unpacked packages of animated emoji), avatars (which are drawn).",
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Worker processes; 0: none, and Beam is not needed. By default, one per core.",
    lower_bound=0,
)
_RUNNER = flags.DEFINE_string(
    "runner", "", "Beam runner of a cluster, which must see --videos and --out under these names."
)
_BEAM = flags.DEFINE_multi_string("beam_arg", [], "Option for Beam, such as --project=NAME.")
_CONFIG = config_file.flag("prepare.py")


def main() -> None:
    """Does what the flags say."""
    if not _OUT.value:
        raise UserError("give --videos, a folder of videos, and --out, a folder for the dataset")
    from emoji_jax.data import clips, prepare, shards
    from emoji_jax.data.crop import CropConfig
    from emoji_jax.data.datasets import ReaderConfig
    from emoji_jax.data.parts import locked
    from emoji_jax.data.shards import Split
    from emoji_jax.data.tracking import TrackConfig

    config = _CONFIG.value
    wanted = prepare.PrepareConfig(
        track=_build(TrackConfig, "track", config.track),
        crop=_build(CropConfig, "crop", config.crop),
        **config.pictures,
        **config.reading,
    )
    split = _build(Split, "split", config.split)
    reader = _build(ReaderConfig, "reader", config.reader)
    videos, out = Path(_VIDEOS.value) if _VIDEOS.value else None, Path(_OUT.value)
    units = prepare.find_units(videos, _DATASET.value, reader)
    with locked(out):
        workers = _WORKERS.value
        if workers is None:
            workers = len(os.sched_getaffinity(0))
        parts = prepare.make_parts(
            units, out, wanted, workers=workers, runner=_RUNNER.value, beam_args=_BEAM.value
        )
        splits = shards.assign(parts, split)
        shard_bytes = round(config.shard_megabytes * 2**20)
        counts = shards.finish(out, parts, splits, config.name, shard_bytes, clips.features())
    total = sum(len(part.lengths) for part in parts)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    print(f"{out}: {total} clips; inputs: {told}")


def _build(kind: type, name: str, options: Mapping[str, Any]) -> Any:
    fields = {field.name for field in dataclasses.fields(kind)}
    if unknown := set(options) - fields:
        raise UserError(f"config.{name} has no option {', '.join(sorted(unknown))}")
    return kind(**options)


if __name__ == "__main__":
    command.run(main)
