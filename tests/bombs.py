"""Small files that would become large: by their names, who makes them and who reads them."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from emoji_jax.data import synthetic
from tests.release_folder import save_torch


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def huge_png(path: Path, side: int = 30000) -> None:
    """900 million black pixels, all of them there."""
    rows = zlib.compressobj()
    row = bytes(1 + side // 8)
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", packed), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def huge_icon(path: Path) -> None:
    """A small icon, says the index; the picture in it has 900 million pixels."""
    huge_png(path)
    png = path.read_bytes()
    path.write_bytes(struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png)


def huge_gif(path: Path) -> None:
    Image.new("P", (1, 1)).save(path, "GIF")
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 65535, 65535)
    path.write_bytes(content)


def huge_webp(path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:])
    content = bytearray(path.read_bytes())
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = (16382).to_bytes(3, "little") * 2
    path.write_bytes(content)


def huge_tiff(path: Path) -> None:
    Image.new("L", (1, 1)).save(path, "TIFF")
    content = path.read_bytes()
    for tag in (256, 257):  # width, height
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content = content[: at + 8] + struct.pack("<I", 60000) + content[at + 12 :]
    path.write_bytes(content)


def video(path: Path, codec: str, side: int = 64) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(black), *stream.encode(None)]:
            container.mux(packet)
    return path.read_bytes()


def huge_frames(path: Path) -> None:
    """The container says 64x64; the only frame says 16000x16000."""
    content = video(path, "libvpx")
    small, large = (b"\x9d\x01\x2a" + struct.pack("<HH", side, side) for side in (64, 16000))
    assert small in content
    path.write_bytes(content.replace(small, large))


def huge_video(path: Path) -> None:
    """Both say so."""
    huge_frames(path)
    content = bytearray(path.read_bytes())
    content[12:16] = struct.pack("<HH", 16000, 16000)
    path.write_bytes(content)


def archive(path: Path, points: bytes, **others: np.ndarray) -> None:
    face = synthetic.motion("wink", 1)
    arrays = {name: getattr(face, name) for name in ("vertices", "pose", "blendshapes", "times")}
    np.savez(path, format=1, size=np.array(face.size), **{**arrays, **others})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("points.npy", points)


def header(frames: int) -> bytes:
    file = io.BytesIO()
    told = {"descr": "<f4", "fortran_order": False, "shape": (frames, 478, 3)}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def growing_npz(path: Path) -> None:
    """0.7 GB of zeros in 3 MB."""
    archive(path, header(125_000) + bytes(125_000 * 478 * 12))


def claiming_npz(path: Path) -> None:
    archive(path, header(10**9) + bytes(100))


def repeating_npy(path: Path) -> None:
    """A million frames, all of them the same."""
    face = synthetic.motion("wink", 1)
    frame = {"lmks": face.points[0], "lmks3d": face.vertices[0], "trans_mat": face.pose[0]}
    frame |= {"bs": face.blendshapes[0], "width": 64, "height": 64}
    np.save(path, np.array([frame] * 1_000_000, object), allow_pickle=True)


def pickled_npy(program: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        file = io.BytesIO()
        told = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, told)
        path.write_bytes(file.getvalue() + program)

    return write


def claiming_npy(path: Path) -> None:
    file = io.BytesIO()
    told = {"descr": "|O", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(file, told)
    path.write_bytes(file.getvalue() + pickle.dumps([1]))


def growing_list_npy(path: Path) -> None:
    """Of one frame, whose points are a list of one array ten thousand times."""
    face = synthetic.motion("wink", 1)
    frame = {"lmks": [np.zeros(200_000)] * 10_000, "lmks3d": face.vertices[0]}
    frame |= {"trans_mat": face.pose[0], "bs": face.blendshapes[0], "width": 64, "height": 64}
    np.save(path, np.array([frame], object), allow_pickle=True)


def claiming_safetensors(length: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", length) + b"{}" * 50)


def claiming_tensor(path: Path) -> None:
    tensor = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    told = json.dumps(tensor).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + bytes(8))


def pth(path: Path, change: Callable[[bytes], bytes], **options: int) -> None:
    """Of one tensor [2 2], with another index."""
    save_torch(path, {"a": np.ones((2, 2), np.float32)})
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    index = next(name for name in parts if name.endswith(".pkl"))
    changed = change(parts.pop(index))
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(index, changed, **options)
        for name, part in parts.items():
            made.writestr(name, part)


def compressed_pth(path: Path) -> None:
    """0.7 GB in 3 MB, before any number is looked at."""
    more = bytes(700_000_000)
    pth(path, lambda index: index + more, compress_type=zipfile.ZIP_DEFLATED, compresslevel=1)


def repeating_pth(path: Path) -> None:
    """One number, taken two billion times by a stride of 0."""

    def repeated(index: bytes) -> bytes:
        for before, after in (
            (b"K\x02K\x02", b"J\xff\xff\xff\x7fK\x01"),
            (b"K\x02K\x01", b"K\0K\0"),
        ):
            assert index.count(before) == 1
            index = index.replace(before, after)
        return index

    pth(path, repeated)


def nested_json(path: Path) -> None:
    path.write_text('{"nose": ' + "[" * 200_000)


def number_json(path: Path) -> None:
    path.write_text('{"nose": [1' + "0" * 4000 + ", 1]}")


def wide_table(path: Path) -> None:
    """Half a million rows of a quarter of a million columns that are all left empty."""
    columns = ",".join(f"{i:x}" for i in range(250_000))
    path.write_text(f"ref,driving,{columns}\n" + "a,b\n" * 400_000)


def sparse(path: Path) -> None:
    """Four gigabytes of zeros that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(2**32)


# By the name of the file: who makes it, who reads it.
BOMBS = {
    "huge.png": (huge_png, "picture"),
    "huge.ico": (huge_icon, "picture"),
    "huge.gif": (huge_gif, "video"),
    "huge.webp": (huge_webp, "video"),
    "huge.tiff": (huge_tiff, "picture"),
    "frames.ivf": (huge_frames, "video"),
    "header.ivf": (huge_video, "video"),
    "grows.npz": (growing_npz, "landmarks"),
    "claims.npz": (claiming_npz, "landmarks"),
    "repeats.npy": (repeating_npy, "landmarks"),
    "claims.npy": (claiming_npy, "landmarks"),
    "list.npy": (growing_list_npy, "landmarks"),
    "memo.npy": (pickled_npy(b"\x80\x02]r\xff\xff\xff\x7f."), "landmarks"),
    "frame.npy": (pickled_npy(b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f."), "landmarks"),
    "string.npy": (pickled_npy(b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"a."), "landmarks"),
    "claims.safetensors": (claiming_safetensors(2**62), "tensors"),
    "long.safetensors": (claiming_safetensors(99_000_000), "tensors"),
    "shape.safetensors": (claiming_tensor, "tensors"),
    "compressed.pth": (compressed_pth, "tensors"),
    "repeats.pth": (repeating_pth, "tensors"),
    "nested.json": (nested_json, "points"),
    "number.json": (number_json, "points"),
    "wide.csv": (wide_table, "table"),
    "sparse.csv": (sparse, "table"),
    "sparse.json": (sparse, "points"),
    "sparse.png": (sparse, "picture"),
    "sparse.mp4": (sparse, "video"),
    "sparse.npz": (sparse, "landmarks"),
    "sparse.npy": (sparse, "landmarks"),
    "sparse.pth": (sparse, "tensors"),
    "sparse.safetensors": (sparse, "tensors"),
}
