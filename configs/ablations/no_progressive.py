"""Ablation (paper, table 2): without the progressive strategy, i.e. with no frames given.

python -m emoji_jax.train --config=configs/ablations/no_progressive.py:stage1 \
    --workdir=runs/no_progressive/stage1

What follows the colon is the configuration that is changed: stage1, stage2, tiny_stage1, ….
"""

import ml_collections

from emoji_jax import config as config_file


def get_config(base: str = "stage1") -> ml_collections.ConfigDict:
    """A stage without masked latents and mask as inputs."""
    config = config_file.read(f"../{base}.py", beside=__file__)
    config.model.progressive = False
    return config
