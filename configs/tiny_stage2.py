"""Stage 2 of the tiny model: motion modules on clips of eight frames.

python -m emoji_jax.train --config=configs/tiny_stage2.py --workdir=runs/tiny/stage2 \
    --config.start=runs/tiny/stage1
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Stage 2 at a size that a CPU can train."""
    config = config_file.read("tiny_stage1.py", beside=__file__)
    config.model.motion = True
    config.train.trainable = ("unet.*.motion_modules.*",)
    config.train.steps = 5000
    config.train.batch_size = 4
    config.train.frames = 8
    # The first level of the progressive strategy has frames that lie far apart.
    config.example.max_stride = 8
    return config
