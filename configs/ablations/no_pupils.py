"""Ablation (paper, table 2): landmarks without pupils.

python -m emoji_jax.train --config=configs/ablations/no_pupils.py:stage1 \
    --workdir=runs/no_pupils/stage1

What follows the colon is the configuration that is changed: stage1, stage2, tiny_stage1, ….
"""

import ml_collections

from emoji_jax import config as config_file


def get_config(base: str = "stage1") -> ml_collections.ConfigDict:
    """A stage without pupils in landmark pictures."""
    config = config_file.read(f"../{base}.py", beside=__file__)
    config.model.pupils = False
    return config
