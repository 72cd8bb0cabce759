"""MediaPipe's canonical face: the 33 points that fix a head's pose, and the whole mesh.

The numbers come from MediaPipe's face geometry metadata (Apache-2.0). The 33 points are all that
recovering poses needs, so they are written out here and no file has to be read for it; the whole
mesh, with its triangles, is read from the landmark model where somebody wants to paint a face.
"""

import dataclasses
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from emoji_jax.errors import UserError
from emoji_jax.landmarks.topology import MESH_POINTS

METADATA = "geometry_pipeline_metadata_landmarks.binarypb"
"""The file inside the landmark model (a zip) that holds the mesh."""

# Landmark id, weight, x, y, z in cm. Pairs have two ids, the person's right and left, and the place
# of the right one.
_MIDLINE = (
    (4, 0.07090994, 0.0, -0.46317, 7.58658),
    (6, 0.032100145, 0.0, 2.473255, 5.788627),
    (10, 0.008446551, 0.0, 8.261778, 4.481535),
)
_SIDES = (
    (33, 263, 0.05872417, -4.445859, 2.663991, 3.173422),
    (54, 284, 0.00766708, -6.279331, 6.615427, 1.42585),
    (67, 297, 0.009078059, -3.523964, 8.005976, 3.729163),
    (117, 346, 0.009791938, -5.258659, 0.945811, 2.974312),
    (119, 348, 0.014565368, -3.300681, 0.861641, 3.872784),
    (121, 350, 0.018591361, -1.820731, 1.467954, 4.224124),
    (127, 356, 0.0051979944, -7.743095, 2.364999, -2.005167),
    (129, 358, 0.120625205, -1.785794, -0.978284, 4.85047),
    (132, 361, 0.0055600186, -7.270895, -2.890917, -2.252455),
    (133, 362, 0.053286184, -1.856432, 2.585245, 3.757904),
    (136, 365, 0.066890456, -5.085276, -7.17859, 0.714711),
    (143, 372, 0.014816548, -6.407571, 2.236021, 1.560843),
    (147, 376, 0.014262834, -6.234883, -1.94443, 1.663542),
    (198, 420, 0.025462192, -1.246815, 0.230297, 5.681036),
    (205, 425, 0.04725228, -3.832928, -1.537326, 4.137731),
)
_POINTS = np.array(
    [
        *_MIDLINE,
        *((right, weight, x, y, z) for right, _, weight, x, y, z in _SIDES),
        *((left, weight, -x, y, z) for _, left, weight, x, y, z in _SIDES),
    ]
)
PROCRUSTES_IDS = _POINTS[:, 0].astype(int)
"""[33] the landmarks whose fit to the canonical face defines scale and pose."""
PROCRUSTES_WEIGHTS = _POINTS[:, 1]
"""[33] their weights in that fit."""
PROCRUSTES_POINTS = _POINTS[:, 2:]
"""[33 3] their places in canonical space, in cm."""


@dataclasses.dataclass(frozen=True)
class CanonicalMesh:
    """The average face in canonical space: x to the picture's right, y up, z forward, in cm."""

    vertices: Float32[np.ndarray, "468 3"]
    uv: Float32[np.ndarray, "468 2"]
    """Texture coordinates in [0, 1]."""
    triangles: Int32[np.ndarray, "T 3"]
    """Zero-based landmark ids, counter-clockwise seen from outside."""
    procrustes_ids: Int32[np.ndarray, " P"]
    procrustes_weights: Float32[np.ndarray, " P"]


def canonical_mesh(task_path: str | os.PathLike[str]) -> CanonicalMesh:
    """Reads the canonical face from a MediaPipe face landmarker model (`.task`).

    Raises:
      UserError: if the file is not such a model.
    """
    try:
        with zipfile.ZipFile(task_path) as archive:
            data = archive.read(METADATA)
        mesh = _parse(data)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{task_path} is not a face landmarker model (.task): {error}") from error
    return mesh


def _parse(data: bytes) -> CanonicalMesh:
    """Reads a `GeometryPipelineMetadata` message: 1 is the mesh, 2 (repeated) the fitted points.

    In the mesh, 3 is the vertex buffer (x y z u v each) and 4 the index buffer; in a fitted point,
    1 is the landmark and 2 its weight. Protocol buffers may write repeated numbers one by one or
    packed into one field; both are read.
    """
    floats, indices, ids, weights = bytearray(), [], [], bytearray()
    for field, value in _fields(data):
        if field == 1:
            for part, content in _fields(value):
                if part == 3:
                    floats += content
                elif part == 4:
                    indices += [content] if isinstance(content, int) else _varints(content)
        elif field == 2:
            point = dict(_fields(value))
            ids.append(point.get(1, 0))
            weights += point[2]
    vertices = np.frombuffer(bytes(floats), "<f4").reshape(-1, 5)
    if len(vertices) != MESH_POINTS:
        raise ValueError(f"expected {MESH_POINTS} vertices in its mesh, got {len(vertices)}")
    return CanonicalMesh(
        vertices=vertices[:, :3].copy(),
        uv=vertices[:, 3:].copy(),
        triangles=np.array(indices, np.int32).reshape(-1, 3),
        procrustes_ids=np.array(ids, np.int32),
        procrustes_weights=np.frombuffer(bytes(weights), "<f4"),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (field number, value) of a message: an int for varints, else the raw bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(data, position)
        elif wire in (1, 2, 5):
            if wire == 2:
                length, position = _varint(data, position)
            else:
                length = 8 if wire == 1 else 4
            value = data[position : position + length]
            position += length
            if position > len(data):
                raise ValueError("a field reaches beyond the end of its message")
        else:
            raise ValueError(f"unknown wire type {wire}")
        yield key >> 3, value


def _varints(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a base-128 number, least significant group first; returns it and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
