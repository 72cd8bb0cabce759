"""Stage 3 of the tiny model: a student for 4 steps without guidance.

python -m emoji_jax.train --config=configs/tiny_distill.py --workdir=runs/tiny/distill \
    --config.start=runs/tiny/stage2

About 7 seconds of one core a step. What 53 steps at a constant rate came to: docs/training-log.md.
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Distillation at a size that a CPU can train."""
    config = config_file.read("tiny_stage2.py", beside=__file__)
    config.train.task = "distillation"
    config.train.trainable = ("unet.*",)
    config.train.steps = 1000
    config.distillation.guidance_scale = 1.5
    # What is learnt at one point goes on to the next noisier one: few, for a short training.
    config.distillation.intervals = 8
    config.optimiser.learning_rate = 1e-4
    config.optimiser.warmup = 20
    config.optimiser.weight_decay = 0.0
    config.optimiser.average = 0.95
    return config
