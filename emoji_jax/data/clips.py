"""What a training example is made of: one clip of one face, as stored and as read back."""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from emoji_jax.images import Picture
from emoji_jax.landmarks import Landmarks, topology

TEXTS = ("name", "identity", "source", "licence", "expression")


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A face in motion, cropped.

    Attributes:
      frames: square pictures, each a JPEG or WebP file of its own, so that any can be read alone.
      landmarks: of the pictures as cropped; `landmarks.size` is theirs.
      detected: in which frames the face was found; elsewhere the landmarks are interpolated.
      box: left, top and side of the crop in the original picture, pixels.
      name: of the input and where in it the clip begins; unique in a dataset.
      identity: who or what is seen. No identity is in two splits.
      source: where it comes from.
      licence: what its licence allows, or a note that it is not known.
      expression: its name, where the recording has one.
    """

    frames: tuple[bytes, ...]
    landmarks: Landmarks
    detected: Bool[np.ndarray, " F"]
    box: tuple[int, int, int]
    name: str
    identity: str
    source: str = ""
    licence: str = ""
    expression: str = ""

    def __len__(self) -> int:
        return len(self.frames)


def encode(clip: Clip) -> dict[str, Any]:
    """A clip as the features that are stored."""
    landmarks = clip.landmarks
    return {
        **{name: getattr(clip, name) for name in TEXTS},
        "frames": list(clip.frames),
        "points": landmarks.points,
        "vertices": landmarks.vertices,
        "pose": landmarks.pose,
        "blendshapes": landmarks.blendshapes,
        "times": landmarks.times,
        "size": np.array(landmarks.size, np.int32),
        "detected": clip.detected.astype(np.uint8),
        "box": np.array(clip.box, np.int32),
    }


def decode(record: Mapping[str, Any]) -> Clip:
    """The clip that a stored record holds, its pictures still encoded."""
    left, top, side = (int(v) for v in record["box"])
    return Clip(
        frames=tuple(record["frames"]),
        landmarks=decode_landmarks(record),
        detected=np.asarray(record["detected"]) > 0,
        box=(left, top, side),
        **{name: text(record[name]) for name in TEXTS},
    )


def decode_landmarks(
    record: Mapping[str, Any], frames: int | slice | Sequence[int] | np.ndarray = slice(None)
) -> Landmarks:
    """Landmarks of some frames of a stored record, all by default."""
    if not isinstance(frames, slice):
        frames = np.atleast_1d(frames)
    height, width = (int(v) for v in record["size"])
    names = ("points", "vertices", "pose", "blendshapes", "times")
    arrays = {name: np.asarray(record[name])[frames] for name in names}
    return Landmarks(size=(height, width), **arrays)


def decode_frames(
    record: Mapping[str, Any], indices: Iterable[int]
) -> UInt8[np.ndarray, "N H W 3"]:
    """Some pictures of a stored record; only those are decompressed."""
    return np.stack([decode_picture(record["frames"][i]) for i in indices])


def encode_picture(picture: Picture, kind: str = "jpeg", quality: int = 92) -> bytes:
    """A picture as a small file: "jpeg" is 15 times faster to write, "webp" 40 % smaller."""
    file = io.BytesIO()
    if kind == "jpeg":
        # Colours at full size: lips are a few pixels high.
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    else:
        Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def decode_picture(data: bytes) -> Picture:
    """The picture in a file that `encode_picture` wrote."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def features() -> Any:
    """The record's layout for TFDS (`tfds.features.FeaturesDict`); needs no TensorFlow.

    Pictures are stored as bytes: TFDS's own picture and video types need TensorFlow to write.
    """
    import tensorflow_datasets as tfds

    kinds = tfds.features
    floats = {
        "points": (topology.POINTS, 3),
        "vertices": (topology.MESH_POINTS, 3),
        "pose": (4, 4),
        "blendshapes": (len(topology.BLENDSHAPES),),
    }
    return kinds.FeaturesDict(
        {
            **{name: kinds.Text() for name in TEXTS},
            "frames": kinds.Sequence(kinds.Text()),
            **{
                name: kinds.Tensor(shape=(None, *shape), dtype=np.float32)
                for name, shape in floats.items()
            },
            "times": kinds.Tensor(shape=(None,), dtype=np.float64),
            "size": kinds.Tensor(shape=(2,), dtype=np.int32),
            "detected": kinds.Tensor(shape=(None,), dtype=np.uint8),
            "box": kinds.Tensor(shape=(3,), dtype=np.int32),
        }
    )


def serialise(clip: Clip, layout: Any) -> bytes:
    """The bytes of a clip's record, as `layout` (see `features`) reads them; always the same."""
    return pack(encode(clip), layout)


def pack(record: Mapping[str, Any], layout: Any) -> bytes:
    """The bytes of a record's features; always the same."""
    from tensorflow_datasets.proto import tf_example_pb2

    messages: Any = tf_example_pb2  # which are made when it is imported
    encoded = layout.serialize_example(layout.encode_example(record))
    # The fields come in an order that changes from process to process.
    return messages.Example.FromString(encoded).SerializeToString(deterministic=True)


def text(value: bytes | str) -> str:
    """A stored text."""
    return value.decode() if isinstance(value, bytes) else value
