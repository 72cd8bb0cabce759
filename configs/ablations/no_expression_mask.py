"""Ablation (paper, table 2): the facial loss without its expression mask.

python -m emoji_jax.train --config=configs/ablations/no_expression_mask.py:stage1 \
    --workdir=runs/no_expression_mask/stage1

What follows the colon is the configuration that is changed: stage1, stage2, tiny_stage1, ….
"""

import ml_collections

from emoji_jax import config as config_file


def get_config(base: str = "stage1") -> ml_collections.ConfigDict:
    """A stage without the expression mask."""
    config = config_file.read(f"../{base}.py", beside=__file__)
    config.animation.expression_mask = False
    return config
