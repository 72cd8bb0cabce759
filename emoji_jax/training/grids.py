"""Pictures of how far a run is: reference, landmarks, truth and result of a few clips."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from emoji_jax import sampling
from emoji_jax.images import to_unit
from emoji_jax.programs import Programs

Batch = Mapping[str, np.ndarray]


def of_animation(
    programs: Programs, batch: Batch, config: sampling.SamplerConfig, seed: int
) -> UInt8[np.ndarray, "H W 3"]:
    """For each clip of a batch three rows: landmarks, truth after the reference, result."""
    rows = []
    for i in range(len(batch["landmarks"])):
        clip = {name: values[i] for name, values in batch.items()}
        if "latents" in clip:
            conditions = programs.condition(clip["reference_latents"], clip["clip_tokens"])
            stored = np.concatenate([clip["reference_latents"][None], clip["latents"]])
            reference, *truth = programs.decode(stored.astype(np.float32))
        else:
            reference, truth = clip["reference"], clip["frames"]
            conditions = programs.encode(to_unit(reference), clip["clip_pixels"])
        frames = sampling.animate(programs, conditions, clip["landmarks"], config, seed=seed)
        black = np.zeros_like(reference)
        rows += [
            np.concatenate([black, *clip["landmarks"][..., :3]], 1),
            np.concatenate([reference, *truth], 1),
            np.concatenate([black, *frames], 1),
        ]
    return np.concatenate(rows)


def of_autoencoder(programs: Programs, batch: Batch) -> UInt8[np.ndarray, "H W 3"]:
    """For each clip of a batch two rows: frames, and what the autoencoder makes of them."""
    rows = []
    for frames in batch["frames"]:
        rows += [np.concatenate(list(frames), 1)]
        rows += [np.concatenate(list(programs.reconstruct(to_unit(frames))), 1)]
    return np.concatenate(rows)
