"""The parameters that a run begins with: random, or of other runs, stage after stage."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from emoji_jax import checkpoint
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, Networks, initialise

# What a folder may lack as a part of a network: it begins as nothing.
_ADDED = (".motion_modules.", ".conv_warped.")
# More input channels than before (the progressive strategy's) begin without influence.
_WIDENED = "unet.conv_in.kernel"


def adopt(cfg: EmojiConfig, folders: Sequence[str]) -> EmojiConfig:
    """The configuration with the autoencoder's, and its latents' scale, from where its weights are.

    Raises:
      UserError: a folder has no checkpoint, or there is nobody to be a student of.
    """
    if cfg.distilled:
        _check_teacher(folders)
    for folder in folders:
        directory = checkpoint.find(Path(folder).absolute())
        if (directory / "vae").is_dir():
            cfg = dataclasses.replace(cfg, vae=checkpoint.read_config(directory).vae)
    return cfg


def _check_teacher(folders: Sequence[str]) -> None:
    found = [checkpoint.find(Path(folder).absolute()) for folder in folders]
    having = [directory for directory in found if (directory / "unet").is_dir()]
    if not having:
        raise UserError(
            "distillation needs a teacher; expected config.start=FOLDER, a checkpoint with a UNet"
        )
    if checkpoint.read_config(having[-1]).distilled:
        raise UserError(
            f"{having[-1]} is distilled already, and guidance does not work with it; expected what "
            "it was distilled from"
        )


def check_landmarks(cfg: EmojiConfig, folders: Sequence[str]) -> None:
    """Raises a UserError if a landmark encoder would see other pictures than it was trained on."""
    found = [(folder, checkpoint.find(Path(folder).absolute())) for folder in folders]
    having = [one for one in found if (one[1] / "landmark_encoder").is_dir()]
    for folder, directory in having[-1:]:  # the later one's is taken
        before = checkpoint.read_config(directory)
        for name in ("pupils", "contour", "antialiased", "warped", "aligned"):
            ours, theirs = getattr(cfg, name), getattr(before, name)
            if ours != theirs:
                raise UserError(
                    f"model.{name} is {ours}, but {theirs} where the landmark encoder was trained, "
                    f"in {folder}; expected the same, or train.trainable with landmark_encoder.*"
                )


def parameters(
    cfg: EmojiConfig, kind: Networks, folders: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Parameters by dotted name, on the host.

    A network that a folder has must be there as a whole, with two exceptions: what `_ADDED` names
    may be missing, as motion modules are before stage 2, or be left out; and the UNet may take
    fewer input channels.

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
    for part in _ADDED:
        if not any(part in name for name in stored):
            wanted = {name: x for name, x in wanted.items() if part not in name}
    shapes = {name: x.shape for name, x in wanted.items()}
    unwanted = {
        name: shape
        for name, shape in stored.items()
        if any(part in name for part in _ADDED) and name not in wanted
    }
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
