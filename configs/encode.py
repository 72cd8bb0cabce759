"""Encoding: `python -m emoji_jax.encode --data DIR --checkpoint DIR --out DIR`; the default.

At 512 pixels a frame takes 32 KB, and the tokens of one that can be the reference 514 KB.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """Every option of encoding, at its default."""
    config = ml_collections.ConfigDict()

    # Of the dataset, which begins the names of its files.
    config.name = "encoded"
    # About how large the files are, 2**20 bytes.
    config.shard_megabytes = 512.0

    # Side of the pictures, pixels; unset: what the checkpoint is meant for.
    config.size = config_dict.placeholder(int)
    # Every how many frames there is one that can be the reference.
    config.every = 8
    # Frames that are encoded at a time, on all devices together.
    config.batch = 16
    # Threads that read clips.
    config.readers = 4
    return config
