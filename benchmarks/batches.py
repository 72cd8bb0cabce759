"""A training batch without data: as shapes, and of random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from emoji_jax.training import sharding
from emoji_jax.training.run import Run


def shapes(run: Run) -> dict[str, jax.ShapeDtypeStruct]:
    """What `pipeline.batches` makes of pictures."""
    count, frames = run.config.train.batch_size, run.config.train.frames
    (side, _), factor, pixels = run.cfg.size, run.cfg.vae.factor, run.cfg.clip.image_size
    picture, mask = (side, side, 3), (side // factor, side // factor, 1)
    wanted = {
        "frames": ((frames, *picture), jnp.uint8),
        "reference": (picture, jnp.uint8),
        "clip_pixels": ((pixels, pixels, 3), jnp.float32),
        "landmarks": ((frames, side, side, 6 if run.cfg.warped else 3), jnp.uint8),
        "expression_mask": ((frames, *mask), jnp.uint8),
        "face_mask": ((frames, *mask), jnp.uint8),
    }
    place = NamedSharding(run.mesh, sharding.BATCH)
    return {
        name: jax.ShapeDtypeStruct((count, *shape), dtype, sharding=place)
        for name, (shape, dtype) in wanted.items()
    }


def random(run: Run) -> dict[str, jax.Array]:
    """Noise in the place of pictures, on the devices."""
    rng = np.random.default_rng(0)

    def draw(name: str, like: jax.ShapeDtypeStruct) -> np.ndarray:
        if like.dtype == jnp.float32:
            return rng.standard_normal(like.shape, np.float32)
        return rng.integers(0, 2 if "mask" in name else 256, like.shape, np.uint8)

    return sharding.place_batch(
        {name: draw(name, like) for name, like in shapes(run).items()}, run.mesh
    )
