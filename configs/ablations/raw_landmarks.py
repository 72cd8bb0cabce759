"""Ablation (paper, table 2): drivers' 2D landmarks as they are detected, not aligned.

python -m emoji_jax.train --config=configs/ablations/raw_landmarks.py:stage1 \
    --workdir=runs/raw_landmarks/stage1

What follows the colon is the configuration that is changed: stage1, stage2, tiny_stage1, ….
"""

import ml_collections

from emoji_jax import config as config_file


def get_config(base: str = "stage1") -> ml_collections.ConfigDict:
    """A stage for landmarks that are not aligned; training is the same, sampling is not."""
    config = config_file.read(f"../{base}.py", beside=__file__)
    config.model.aligned = False
    return config
