"""The parameters that a run begins with: random, or of other runs, stage after stage."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from emoji_jax import checkpoint
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, Networks, initialise

# More input channels than before (the progressive strategy's) begin without influence.
_WIDENED = "unet.conv_in.kernel"


def adopt(cfg: EmojiConfig, folders: Sequence[str]) -> EmojiConfig:
    """The configuration with the autoencoder's, and its latents' scale, from where its weights are.

    Raises:
      UserError: a folder has no checkpoint.
    """
    for folder in folders:
        directory = checkpoint.find(Path(folder).absolute())
        if (directory / "vae").is_dir():
            cfg = dataclasses.replace(cfg, vae=checkpoint.read_config(directory).vae)
    return cfg


def parameters(
    cfg: EmojiConfig, kind: Networks, folders: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Parameters by dotted name, on the host.

    A network that a folder has must be there as a whole, with two exceptions: motion modules may
    be missing, which stage 2 adds, or be left out, for stage 1; and the UNet may take fewer input
    channels.

    Raises:
      UserError: a folder has no checkpoint, or one that does not fit.
    """
    found = {
        name: np.asarray(x)
        for name, x in checkpoint.flatten(initialise(cfg, seed=seed, kind=kind)).items()
    }
    networks = sorted({name.split(".")[0] for name in found})
    for folder in folders:
        directory = checkpoint.find(Path(folder).absolute())
        checkpoint.read_config(directory)
        present = [n for n in networks if (directory / n).is_dir()]
        if not present:
            raise UserError(f"{folder} has none of the networks {', '.join(networks)}")
        for network in present:
            found |= _network(directory, network, found)
    return found


def _network(folder: Path, network: str, initial: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    stored = {f"{network}.{name}": s for name, s in checkpoint.shapes(folder / network).items()}
    wanted = {name: x for name, x in initial.items() if name.startswith(f"{network}.")}
    if not any(".motion_modules." in name for name in stored):
        wanted = {name: x for name, x in wanted.items() if ".motion_modules." not in name}
    shapes = {name: x.shape for name, x in wanted.items()}
    unwanted = {n: s for n, s in stored.items() if ".motion_modules." in n and n not in wanted}
    shapes |= unwanted
    extra = 0
    if _WIDENED in shapes and _WIDENED in stored:
        extra = shapes[_WIDENED][2] - stored[_WIDENED][2]
        if extra > 0:
            shapes[_WIDENED] = stored[_WIDENED]
    prefix = len(network) + 1
    targets = {n[prefix:]: jax.ShapeDtypeStruct(s, np.float32) for n, s in shapes.items()}
    loaded = checkpoint.restore(folder / network, targets)
    arrays = {f"{network}.{name}": np.asarray(x) for name, x in loaded.items()}
    arrays = {name: x for name, x in arrays.items() if name not in unwanted}
    if extra > 0:
        arrays[_WIDENED] = np.pad(arrays[_WIDENED], ((0, 0), (0, 0), (0, extra), (0, 0)))
    return arrays
