"""Names and layouts of published PyTorch weights, and ours."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from emoji_jax.checkpoint import check_names

Names = tuple[tuple[str, str], ...]

# From our dotted paths to the published names, applied in order; leaves are renamed at the end.
_BLOCKS: Names = (
    (r"\.to_out\.", ".to_out.0."),
    (r"\.ff\.proj\.", ".ff.net.0.proj."),
    (r"\.ff\.out\.", ".ff.net.2."),
    (r"(motion_modules\.\d+)\.", r"\1.temporal_transformer."),
    (r"(attentions\.\d+)\.norm1\.", r"\1.transformer_blocks.0.norm1."),
)
_CLIP: Names = (
    (r"^(?!visual_projection)", "vision_model."),
    (r"\.(\w+_embedding)(\.|$)", r".embeddings.\1\2"),
    (r"\.pre_layernorm\.", ".pre_layrnorm."),
    (r"\.layers\.", ".encoder.layers."),
    (r"\.to_(\w+)\.", r".\1_proj."),
    (r"\.(fc\d)\.", r".mlp.\1."),
)
NAMES: dict[str, Names] = {
    "unet": (*_BLOCKS, (r"^image_prompt\.unet\.", "clip_fc.")),
    "appearance": (*_BLOCKS, (r"^image_prompt\.appearance\.", "clip_fc.")),
    "landmark_encoder": (),
    "vae": ((r"\.attention\.", "."), *_BLOCKS),
    "clip": _CLIP,
}
# Published tensors that hold nothing to learn: position tables that are computed here, an index
# buffer of older CLIP files, and a layer that the released appearance net has but never uses.
_UNUSED = {
    "unet": r".*\.pos_encoder\.pe",
    "appearance": r"up_blocks\.\d+\.attentions\.\d+\.proj_out\.(weight|bias)",
    "clip": r"vision_model\.embeddings\.position_ids",
}
# The autoencoder's attention as it was called when its weights were published.
OLD_VAE = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def published_name(path: str, names: Names) -> str:
    """Name in the published state dict of one of our parameters."""
    for pattern, replacement in names:
        path = re.sub(pattern, replacement, path)
    return re.sub(r"\.(kernel|scale|embedding)$", ".weight", path)


def to_jax(tensor: np.ndarray, path: str, ndim: int) -> np.ndarray:
    """A published tensor in our layout: kernels have inputs before outputs, channels last."""
    if not path.endswith("kernel"):
        return tensor
    if tensor.ndim == 2:
        return tensor.T
    if ndim == 2 and tensor.shape[2:] == (1, 1):
        return tensor[:, :, 0, 0].T
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor


def check(
    network: str,
    wanted: Mapping[str, tuple[int, ...]],
    source: Mapping[str, np.ndarray],
    path: Path,
) -> None:
    """Compares all names and shapes of a published file with those of our parameters.

    Args:
      network: key of `NAMES`.
      wanted: shape of every parameter by dotted path.
      source: published tensors.
      path: where they come from, for the message.

    Raises:
      UserError: a name is missing, left over or of another shape.
    """
    names = NAMES[network]
    ours = {published_name(key, names): key for key in wanted}
    unused = re.compile(_UNUSED.get(network, r"(?!)"))
    found = {}
    for name in source:
        if name in ours or not unused.fullmatch(name):
            key = ours.get(name, name)
            found[key] = to_jax(source[name], key, len(wanted.get(key, ()))).shape
    check_names(path, wanted, found)


def take(network: str, key: str, ndim: int, source: Mapping[str, np.ndarray]) -> np.ndarray:
    """One of our parameters out of published tensors that `check` has accepted."""
    return to_jax(source[published_name(key, NAMES[network])], key, ndim)


class Renamed(Mapping[str, np.ndarray]):
    """Some of a file's tensors, under other names, still read only when asked for."""

    def __init__(self, source: Mapping[str, np.ndarray], old_names: Mapping[str, str]):
        self._source, self._old_names = source, old_names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._source[self._old_names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._old_names)

    def __len__(self) -> int:
        return len(self._old_names)


def without(source: Mapping[str, np.ndarray], pattern: str) -> Renamed:
    """The tensors whose whole name does not match."""
    return Renamed(source, {name: name for name in source if not re.fullmatch(pattern, name)})


def with_new_vae_names(source: Mapping[str, np.ndarray]) -> Renamed:
    """The autoencoder's tensors with its attention named as it is today."""

    def rename(match: re.Match) -> str:
        return f"{match[1]}.{OLD_VAE[match[2]]}."

    pattern = re.compile(rf"(mid_block\.attentions\.0)\.({'|'.join(OLD_VAE)})\.")
    return Renamed(source, {pattern.sub(rename, name): name for name in source})
