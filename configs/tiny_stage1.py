"""Stage 1 of the tiny model: 128 pixels, frames one by one; every portrait for several frames.

python -m emoji_jax.train --config=configs/tiny_stage1.py --workdir=runs/tiny/stage1 \
    --config.start=runs/tiny/vae

CLIP is trained too: nobody else has one this small. Two seconds a step on two cores; held-out
L_LDM 0.26 after some 5,000 steps (docs/training-log.md).
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Stage 1 at a size that a CPU can train."""
    config = config_file.read("stage1.py", beside=__file__)
    config.dtype = "float32"
    config.model.preset = "tiny"
    config.model.antialiased = True
    config.model.warped = True
    config.train.batch_size = 8
    # The portrait's share of the work is done once for all of them.
    config.train.frames = 4
    config.train.remat = False
    config.train.steps = 6000
    config.train.trainable += ("clip.*",)
    config.data.workers = 0
    config.example.max_stride = 8
    config.optimiser.learning_rate = 8e-4
    config.optimiser.warmup = 200
    config.optimiser.decay = "cosine"
    config.optimiser.betas = (0.9, 0.99)
    config.optimiser.average = 0.99
    # Eyes and mouths are what is learnt last.
    config.animation.ffg = 2.0
    # Copying a given frame is learnt at once: most samples are for what is hard.
    config.animation.known = 0.1
    config.animation.min_snr = 5.0
    config.log.validate = 500
    config.log.grids = 500
    config.checkpoint.every = 500
    return config
