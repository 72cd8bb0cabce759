"""Stage 2 of the paper (section 4.1): motion modules on clips of 16 frames, 10,000 steps of 32.

python -m emoji_jax.train --config=configs/stage2.py --workdir=runs/stage2 \
    --config.data.sources=DATASET --config.start=runs/stage1

AnimateDiff's motion modules: --config.start="'CONVERTED','runs/stage1'". Not run at this size yet.
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Stage 2 with the paper's model."""
    config = config_file.read("base.py", beside=__file__)
    config.dtype = "bfloat16"
    config.train.steps = 10000
    config.train.frames = 16
    config.train.trainable = ("unet.*.motion_modules.*",)
    config.train.remat = True
    config.data.workers = 8
    return config
