"""Stage 3, not in the paper: a student for 4 steps without guidance (LCM, arXiv 2310.04378).

python -m emoji_jax.train --config=configs/distill.py --workdir=runs/distill \
    --config.data.sources=DATASET --config.start=runs/stage2

The teacher is what it starts from, with guidance; learning rate and average are about the method's.
Other networks: --config.model.preset=release --config.model.progressive=False. Not run at this size
yet.
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Distillation of the paper's model."""
    config = config_file.read("stage2.py", beside=__file__)
    config.train.task = "distillation"
    config.train.trainable = ("unet.*",)
    config.train.steps = 5000
    config.optimiser.learning_rate = 8e-6
    config.optimiser.weight_decay = 0.0
    config.optimiser.average = 0.95
    return config
