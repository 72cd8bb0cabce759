"""Sampling: `python -m emoji_jax.sample --config=configs/sample.py`, which is the default."""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """The options of sampling, all at their defaults."""
    return config_file.read("base.py", beside=__file__)
