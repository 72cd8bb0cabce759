"""Ablation (paper, table 2): landmarks with the face's contour.

python -m emoji_jax.train --config=configs/ablations/contour.py:stage1 \
    --workdir=runs/contour/stage1

What follows the colon is the configuration that is changed: stage1, stage2, tiny_stage1, ….
"""

import ml_collections

from emoji_jax import config as config_file


def get_config(base: str = "stage1") -> ml_collections.ConfigDict:
    """A stage with the contour in landmark pictures."""
    config = config_file.read(f"../{base}.py", beside=__file__)
    config.model.contour = True
    return config
