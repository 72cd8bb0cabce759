"""Stage 1 of the paper (section 4.1): single frames of 512 pixels, 30,000 steps of 32.

python -m emoji_jax.train --config=configs/stage1.py --workdir=runs/stage1 \
    --config.data.sources=DATASET --config.start=CONVERTED

Starts from published weights that `python -m emoji_jax.convert` made a checkpoint of. Everything is
trained but the autoencoder and CLIP; there are no motion modules yet. For 8 devices of 40 GB or
more (docs/training.md has the memory); not run at this size yet.
"""

import ml_collections

from emoji_jax import config as config_file


def get_config() -> ml_collections.ConfigDict:
    """Stage 1 with the paper's model."""
    config = config_file.read("base.py", beside=__file__)
    config.dtype = "bfloat16"
    config.model.motion = False
    config.train.remat = True
    config.data.workers = 8
    return config
