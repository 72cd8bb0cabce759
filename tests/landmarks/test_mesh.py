import struct
import zipfile

import numpy as np
import pytest

from emoji_jax.errors import UserError
from emoji_jax.landmarks import canonical_mesh, mesh


def varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def field(number: int, wire: int, content: bytes) -> bytes:
    return varint(number << 3 | wire) + (varint(len(content)) if wire == 2 else b"") + content


def task(path, vertices: np.ndarray, indices: list[int], *, packed: bool):
    floats = [struct.pack("<f", v) for v in vertices.ravel()]
    if packed:
        buffers = field(3, 2, b"".join(floats)) + field(4, 2, b"".join(map(varint, indices)))
    else:
        buffers = b"".join(field(3, 5, f) for f in floats)
        buffers += b"".join(field(4, 0, varint(i)) for i in indices)
    point = field(1, 0, varint(300)) + field(2, 5, struct.pack("<f", 0.5))
    unknown = field(9, 1, b"8 bytes!")
    data = field(1, 2, field(1, 0, b"\0") + buffers) + field(2, 2, point) + unknown
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(mesh.METADATA, data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_reads_both_encodings(tmp_path, packed):
    vertices = np.arange(468 * 5, dtype=np.float32).reshape(468, 5)
    found = canonical_mesh(
        task(tmp_path / "a.task", vertices, [0, 1, 467, 2, 200, 3], packed=packed)
    )
    np.testing.assert_array_equal(found.vertices, vertices[:, :3])
    np.testing.assert_array_equal(found.uv, vertices[:, 3:])
    np.testing.assert_array_equal(found.triangles, [[0, 1, 467], [2, 200, 3]])
    assert found.procrustes_ids.tolist() == [300]
    assert found.procrustes_weights.tolist() == [0.5]


def test_other_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="not a face landmarker model"):
        canonical_mesh(tmp_path / "missing.task")
    (tmp_path / "text.task").write_text("hello")
    with pytest.raises(UserError, match="not a face landmarker model"):
        canonical_mesh(tmp_path / "text.task")
    with pytest.raises(UserError, match="468"):
        canonical_mesh(task(tmp_path / "few.task", np.zeros((3, 5)), [0, 1, 2], packed=True))
    with zipfile.ZipFile(tmp_path / "cut.task", "w") as archive:
        archive.writestr(mesh.METADATA, field(1, 2, b"x" * 50)[:20])
    with pytest.raises(UserError, match="not a face landmarker model"):
        canonical_mesh(tmp_path / "cut.task")


def test_built_in_points_are_the_model_s(model_path):
    found = canonical_mesh(model_path)
    order = np.argsort(mesh.PROCRUSTES_IDS)
    np.testing.assert_array_equal(mesh.PROCRUSTES_IDS[order], found.procrustes_ids)
    np.testing.assert_allclose(mesh.PROCRUSTES_WEIGHTS[order], found.procrustes_weights, atol=1e-8)
    np.testing.assert_allclose(
        mesh.PROCRUSTES_POINTS[order], found.vertices[found.procrustes_ids], atol=1e-6
    )
    assert found.triangles.shape == (898, 3)
    a, b, c = found.vertices[found.triangles].swapaxes(0, 1)
    outward = np.cross(b - a, c - a)[:, 2]  # the face looks along z
    assert (outward > 0).mean() > 0.9
