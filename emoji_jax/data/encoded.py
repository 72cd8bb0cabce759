"""Clips encoded beforehand: latents of all frames, CLIP tokens of some, and what is drawn."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Int

from emoji_jax import files, json_file
from emoji_jax.data.clips import TEXTS, text
from emoji_jax.errors import UserError
from emoji_jax.landmarks import topology

_FORMAT = 1
_CONFIG = "config.json"
# What CLIP's tokens don't depend on.
_AFTER_TOKENS = ("clip.post_layernorm.", "clip.visual_projection.")
_COPIED = ("points", "times", "detected")


@dataclasses.dataclass(frozen=True)
class EncodedConfig:
    """What made a dataset of encoded clips; written beside it.

    Attributes:
      size: side of the pictures that were encoded, pixels.
      factor: picture size over latent size.
      clip_size: side of the pictures that CLIP's vision tower saw.
      every: distance of the frames that have tokens and so can be the reference.
      vae: fingerprint of the autoencoder's encoder.
      clip: fingerprint of CLIP's vision tower.
    """

    size: int
    factor: int
    clip_size: int
    every: int
    vae: str
    clip: str

    def write(self, directory: Path) -> None:
        """Notes it in a folder; if that holds a dataset of another kind, it holds none any more."""
        path = directory / _CONFIG
        text = json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"
        if path.is_file() and path.read_text() == text:
            return
        (directory / "dataset_info.json").unlink(missing_ok=True)
        with files.whole(path) as file:
            file.write_text(text)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether a folder has, or is to have, encoded clips."""
        return (directory / _CONFIG).is_file()

    @classmethod
    def read(cls, directory: Path) -> "EncodedConfig | None":
        """Of a dataset's folder; None if its clips are pictures.

        Raises:
          UserError: it is of another version.
        """
        path = directory / _CONFIG
        try:
            settings = json_file.read(path)
            if settings.pop("format") != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}")
            return cls(**settings)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is not of this version: {error}; encode again") from None

    def check(self, directory: Path, networks: "EncodedConfig") -> None:
        """Raises a UserError unless the clips are as these networks would encode them now.

        Args:
          directory: of the dataset, for the message.
          networks: what `describe` says of those that shall be trained.
        """
        names = {"vae": "another autoencoder", "clip": "another CLIP"}
        others = [
            names.get(name, f"{name} {ours} instead of {getattr(networks, name)}")
            for name, ours in dataclasses.asdict(self).items()
            if name != "every" and ours != getattr(networks, name)
        ]
        if others:
            raise UserError(
                f"{directory} was encoded with {', '.join(others)}; run `python -m "
                "emoji_jax.encode` again with the checkpoint that training starts from"
            )


def describe(
    parameters: Mapping[str, Any],
    *,
    size: int,
    factor: int,
    scaling: float,
    clip_size: int,
    every: int = 1,
) -> EncodedConfig:
    """What clips are like that these networks encode.

    Args:
      parameters: by name, for example `vae.encoder.conv_in.kernel` and `clip.layers.0.fc1.bias`.
        What latents and tokens don't depend on may be missing.
      size: side of the pictures, pixels.
      factor: picture size over latent size.
      scaling: of the latents.
      clip_size: side of the pictures that CLIP sees, pixels.
      every: see `EncodedConfig`.
    """
    encoder = _under(parameters, "vae.encoder.", "vae.quant_conv.")
    tower = _under(parameters, "clip.")
    for name in [name for name in tower if name.startswith(_AFTER_TOKENS)]:
        del tower[name]
    vae = fingerprint({**encoder, "scaling": np.float32(scaling)})
    return EncodedConfig(size, factor, clip_size, every, vae, fingerprint(tower))


def _under(parameters: Mapping[str, Any], *prefixes: str) -> dict[str, Any]:
    return {name: x for name, x in parameters.items() if name.startswith(prefixes)}


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """Changes with any weight, and with nothing else: not with order or floating type."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        array = np.asarray(parameters[name]).astype(np.float32)
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


class EncodedClip:
    """A stored clip of which only the latents that are asked for are unpacked."""

    def __init__(self, record: Mapping[str, Any]):
        self._record = record

    def __len__(self) -> int:
        return len(self._record["latents"])

    def points(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 3"]:
        """Landmarks of some frames, in parts of the picture's side."""
        return np.asarray(self._record["points"])[frames]

    def latents(self, frames: Int[np.ndarray, " N"]) -> Float16[np.ndarray, "N h w C"]:
        """Scaled means of some frames' latents."""
        return _unpack(self._record, "latents", [int(i) for i in frames])

    def reference(self, frame: int) -> int:
        """The frame with tokens that comes first before, or is, another one."""
        stored = np.asarray(self._record["references"])
        return int(stored[np.searchsorted(stored, frame, side="right") - 1])

    def clip_tokens(self, frame: int) -> Float16[np.ndarray, "N D"]:
        """All tokens of CLIP's vision tower, of a frame that `reference` has returned."""
        place = np.asarray(self._record["references"]).tolist().index(frame)
        return _unpack(self._record, "clip_tokens", [place])[0]


def _unpack(record: Mapping[str, Any], name: str, places: Sequence[int]) -> np.ndarray:
    shape = tuple(int(n) for n in record[f"{name}_shape"])
    return np.stack([np.frombuffer(record[name][i], np.float16).reshape(shape) for i in places])


def encode(
    record: Mapping[str, Any],
    latents: Float16[np.ndarray, "F h w C"],
    references: Int[np.ndarray, " R"],
    clip_tokens: Float16[np.ndarray, "R N D"],
) -> dict[str, Any]:
    """The features of an encoded clip.

    Args:
      record: of the clip with pictures; see `clips.encode`.
      latents: scaled means, of all frames.
      references: the frames that have tokens; the first frame is one.
      clip_tokens: theirs.
    """
    return {
        **{name: text(record[name]) for name in TEXTS},
        **{name: np.asarray(record[name]) for name in _COPIED},
        "latents": [frame.tobytes() for frame in latents],
        "latents_shape": np.array(latents.shape[1:], np.int32),
        "references": references.astype(np.int32),
        "clip_tokens": [tokens.tobytes() for tokens in clip_tokens],
        "clip_tokens_shape": np.array(clip_tokens.shape[1:], np.int32),
    }


def features() -> Any:
    """The record's layout for TFDS."""
    import tensorflow_datasets as tfds

    kinds = tfds.features
    return kinds.FeaturesDict(
        {
            **{name: kinds.Text() for name in TEXTS},
            "points": kinds.Tensor(shape=(None, topology.POINTS, 3), dtype=np.float32),
            "times": kinds.Tensor(shape=(None,), dtype=np.float64),
            "detected": kinds.Tensor(shape=(None,), dtype=np.uint8),
            "latents": kinds.Sequence(kinds.Text()),
            "latents_shape": kinds.Tensor(shape=(3,), dtype=np.int32),
            "references": kinds.Tensor(shape=(None,), dtype=np.int32),
            "clip_tokens": kinds.Sequence(kinds.Text()),
            "clip_tokens_shape": kinds.Tensor(shape=(2,), dtype=np.int32),
        }
    )
