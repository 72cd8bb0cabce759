"""The tiny model's autoencoder.

python -m emoji_jax.train --config=configs/vae.py --workdir=runs/vae

Half a second a step on two cores; 25 dB on held-out pictures after 3,600 steps.
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """The tiny model's autoencoder on synthetic portraits and what --config.data.sources adds."""
    config = config_file.read("base.py", beside=__file__)
    config.model.preset = "tiny"
    config.train.task = "autoencoder"
    config.train.trainable = ("vae.*",)
    config.train.steps = 20000
    config.train.batch_size = 8
    config.optimiser.learning_rate = 1e-3
    config.optimiser.warmup = 200
    config.optimiser.decay = "cosine"
    config.optimiser.weight_decay = 0.0
    config.optimiser.betas = (0.9, 0.99)
    config.optimiser.average = 0.998
    config.autoencoder.kl = 5e-3
    config.example.colour = 0.3
    config.log.grids = 1000
    config.log.grid_clips = 8
    config.log.grid_frames = 1
    return config
