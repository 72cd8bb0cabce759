"""Configurations whose networks compile in seconds; also files for `--config=FILE:TASK`."""

from pathlib import Path

import ml_collections

from emoji_jax import config as config_file
from emoji_jax.models import emoji
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.image_prompt import CLIPVisionConfig, ImagePromptConfig
from emoji_jax.models.landmark_encoder import LandmarkEncoderConfig
from emoji_jax.models.unet import UNetConfig
from emoji_jax.models.vae import VAEConfig

NETWORKS = EmojiConfig(
    "tiny",
    size=(32, 32),
    frames=4,
    unet=UNetConfig(
        in_channels=9, channels=(32,), attention=(True,), layers=1, groups=8, context=24
    ),
    landmark_encoder=LandmarkEncoderConfig((8, 8, 16, 16)),
    vae=VAEConfig((16, 16, 32), layers=1, groups=4, patch=2, scaling=1.0),
    clip=CLIPVisionConfig(32, 64, 1, 4, image_size=28, patch_size=14, projection_dim=8),
    image_prompt=ImagePromptConfig(queries=4, layers=1, width=32, heads=4),
)
emoji.PRESETS["tiny"] = lambda: NETWORKS


def get_config(task: str = "stage1") -> ml_collections.ConfigDict:
    """Of a task: vae, stage1, stage2 or distill."""
    path = Path(config_file.folder()) / f"{task}.py"
    return shrink(config_file.read(path.name, beside=str(path)), task)


def shrink(config: ml_collections.ConfigDict, task: str) -> ml_collections.ConfigDict:
    """Changes the configuration of a task to what a test can run."""
    config.model.preset = "tiny"
    config.dtype = "float32"
    config.data.workers = 0
    config.data.synthetic_clips = 16
    config.data.synthetic_frames = 8
    config.train.batch_size = 8
    config.train.remat = False
    config.train.steps = 4
    config.train.frames = 4 if task in ("stage2", "distill") else 1
    config.optimiser.learning_rate = 1e-3
    config.optimiser.warmup = 0
    config.checkpoint.every = 2
    config.log.every = 1
    config.log.validate = 0
    config.log.validation_batches = 1
    config.log.grids = 0
    return config
