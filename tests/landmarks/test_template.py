import dataclasses
import io
import os
import pickle
import struct

import numpy as np
import pytest

from emoji_jax.errors import UserError
from emoji_jax.landmarks import Landmarks

NAMES = ("points", "vertices", "pose", "blendshapes", "times")


def frame_dict(face: Landmarks) -> dict:
    return {
        "lmks": face.points[0].astype(np.float64),
        "lmks3d": face.vertices[0].astype(np.float64),
        "trans_mat": face.pose[0].astype(np.float64),
        "faces": np.ones((898, 3), np.int64),
        "bs": [float(score) for score in face.blendshapes[0]],
        "width": face.size[1],
        "height": face.size[0],
    }


def write_npy(path, payload: bytes, frames: int = 1):
    """An .npy file of objects whose pickle is `payload`."""
    buffer = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (frames,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path.write_bytes(buffer.getvalue() + payload)
    return path


def test_save_and_load(tmp_path, portrait: Landmarks):
    three = dataclasses.replace(portrait[[0, 0, 0]], times=np.array([0, 0.04, 0.08]))
    three.save(tmp_path / "a.npz")
    assert os.listdir(tmp_path) == ["a.npz"]
    loaded = Landmarks.load(tmp_path / "a.npz")
    assert loaded.size == three.size
    for name in NAMES:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(three, name))
        assert getattr(loaded, name).dtype == getattr(three, name).dtype


def test_edited_arrays_may_have_another_precision(portrait, tmp_path):
    """NumPy computes in float64."""
    portrait.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        arrays = {name: archive[name] for name in archive}
    arrays["points"] = arrays["points"].astype(np.float64)
    arrays["times"] = arrays["times"].astype(np.float16)
    np.savez(tmp_path / "b.npz", **arrays)
    again = Landmarks.load(tmp_path / "b.npz")
    assert again.points.dtype == np.float32 and again.times.dtype == np.float64
    np.testing.assert_array_equal(again.points, portrait.points)


def test_failed_save_leaves_nothing(tmp_path, portrait: Landmarks, monkeypatch):
    def fail(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(UserError, match="No space left"):
        portrait.save(tmp_path / "a.npz")
    assert os.listdir(tmp_path) == []


def test_save_errors(tmp_path, portrait: Landmarks):
    with pytest.raises(UserError, match="npz"):
        portrait.save(tmp_path / "a.npy")
    with pytest.raises(UserError, match="No such file"):
        portrait.save(tmp_path / "missing" / "a.npz")


def test_indexing_keeps_the_frame_axis(portrait: Landmarks):
    five = dataclasses.replace(portrait[[0] * 5], times=np.arange(5.0))
    assert len(five) == 5
    assert five[3].times.tolist() == [3]
    assert five[-1].times.tolist() == [4]
    assert five[1:3].times.tolist() == [1, 2]
    assert five[np.array([4, 0])].times.tolist() == [4, 0]
    assert five[2].points.shape == (1, 478, 3)
    assert [frame.times[0] for frame in five] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        five[5]


def test_construction_checks(portrait: Landmarks):
    # Exception: the suite's own checks of shapes in signatures may come first.
    with pytest.raises(Exception, match="points"):
        dataclasses.replace(portrait, points=portrait.points.astype(np.float64))
    with pytest.raises(Exception, match="times"):
        dataclasses.replace(portrait, times=np.zeros(2))
    with pytest.raises(ValueError, match="not finite"):
        dataclasses.replace(portrait, pose=portrait.pose * np.float32(np.nan))
    with pytest.raises(ValueError, match="size"):
        dataclasses.replace(portrait, size=(0, 4))


def test_npz_errors(tmp_path, portrait: Landmarks):
    path = tmp_path / "a.npz"

    def written(**changes):
        arrays = {name: getattr(portrait, name) for name in NAMES}
        arrays |= {"format": 1, "size": np.array(portrait.size)} | changes
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return path

    Landmarks.load(written())
    for changes, message in (
        ({"points": None}, "lacks points"),
        ({"format": 2}, "format is 2"),
        ({"size": np.array([1.5, 2])}, "two whole numbers"),
        ({"pose": portrait.pose[:, :3]}, "pose should be"),
        ({"vertices": portrait.vertices * np.float32(np.inf)}, "not finite"),
        ({"points": np.array([{}], object)}, "allow_pickle"),
    ):
        with np.errstate(invalid="ignore"), pytest.raises(UserError, match=message):
            Landmarks.load(written(**changes))

    path.write_bytes(written().read_bytes()[:-200])
    with pytest.raises(UserError, match="no usable landmarks"):
        Landmarks.load(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="no usable landmarks"):
        Landmarks.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="one array"):
        Landmarks.load(path)
    with pytest.raises(UserError, match="No such file"):
        Landmarks.load(tmp_path / "b.npz")
    with pytest.raises(UserError, match=r"expected .npz or .npy"):
        Landmarks.load(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda three: three[:0], "holds no frames"),
        (
            lambda three: dataclasses.replace(three, times=np.array([0.0, 1, 1])),
            "times should grow",
        ),
        (lambda three: dataclasses.replace(three, pose=0 * three.pose), "pose should be rotations"),
    ],
)
def test_what_an_edited_file_may_hold(tmp_path, portrait: Landmarks, change, said):
    three = dataclasses.replace(portrait[[0, 0, 0]], times=np.arange(3.0))
    change(three).save(tmp_path / "A.npz")
    (tmp_path / "A.npz").rename(tmp_path / "A.NPZ")
    with pytest.raises(UserError, match=said):
        Landmarks.load(tmp_path / "A.NPZ")


def test_template(tmp_path, portrait: Landmarks):
    path = tmp_path / "template.npy"
    np.save(path, [frame_dict(portrait)] * 3)
    loaded = Landmarks.load(path)
    assert len(loaded) == 3
    assert loaded.size == portrait.size
    np.testing.assert_allclose(loaded.times, [0, 1 / 30, 2 / 30])
    np.testing.assert_allclose(Landmarks.load(path, fps=25.0).times, [0, 0.04, 0.08])
    for name in NAMES[:4]:
        np.testing.assert_array_equal(getattr(loaded[1], name), getattr(portrait, name))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_template_spellings(tmp_path, portrait: Landmarks, protocol, core):
    """Both names of NumPy's core, NumPy scalars, float32 and Fortran order, times of its own."""
    frame = frame_dict(portrait)
    frame |= {"width": np.int64(512), "time": np.float32(0.5), "bs": np.array(frame["bs"], "f4")}
    frame["trans_mat"] = np.asfortranarray(frame["trans_mat"]).astype(">f8")
    frames = np.array([frame], object)
    payload = pickle.dumps(frames, protocol=protocol)
    if protocol < 4:  # later protocols write lengths before names
        payload = payload.replace(b"numpy._core.multiarray", core)
    if (
        protocol == 2
    ):  # where bytes are a call of _codecs.encode, which is not needed since Python 3
        with pytest.raises(UserError, match=r"refused: .* _codecs.encode"):
            Landmarks.load(write_npy(tmp_path / "a.npy", payload))
        return
    loaded = Landmarks.load(write_npy(tmp_path / "a.npy", payload))
    np.testing.assert_array_equal(loaded.pose, portrait.pose)
    assert loaded.times.tolist() == [0.5]


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        Calls(os.system, "touch pwned"),
        Calls(eval, "open('pwned', 'w')"),
        Calls(getattr, Calls(__import__, "os"), "system"),
        Calls(np.load, "pwned.npy"),
        Calls(np.fromfile, "pwned"),
        Calls(np.memmap, "pwned", "u1", "w+", 0, (4,)),
        Calls(np.ma.MaskedArray, [1]),
        Calls(np.frombuffer, b"12345678"),
        Calls(open, "pwned", "w"),
    ],
    ids=lambda call: call.call[0].__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hostile_pickles_are_refused(tmp_path, portrait: Landmarks, call, protocol, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = frame_dict(portrait) | {"lmks": call}
    payload = pickle.dumps([frame], protocol=protocol)
    with pytest.raises(UserError, match="refused: it asks for"):
        Landmarks.load(write_npy(tmp_path / "a.npy", payload))
    assert os.listdir(tmp_path) == ["a.npy"]


def text_pickle(module: str, name: str, rest: bytes = b"(tR.") -> bytes:
    return f"c{module}\n{name}\n".encode() + rest


@pytest.mark.parametrize(
    "payload",
    [
        text_pickle("numpy", "dtype.newbyteorder"),
        b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__class__.mro\x93.",  # a path through attributes
        text_pickle("numpy", "core"),
        text_pickle("numpy.core.multiarray", "fromfile"),
        text_pickle("numpy._core.multiarray", "fromstring"),
        text_pickle("emoji_jax.pickled", "read_objects"),
    ],
)
def test_only_exact_names_are_known(tmp_path, payload):
    with pytest.raises(UserError, match="refused: it asks for"):
        Landmarks.load(write_npy(tmp_path / "a.npy", payload))


def reconstruct(state: bytes) -> bytes:
    return b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nI0\nS'b'\ntR" + state + b"b."


def a_list_of_itself() -> list:
    items = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"garbage",
        b"N.",
        b"]q\0h\0a.",
        text_pickle("numpy", "ndarray"),  # not callable here
        text_pickle("numpy", "dtype", b"(S'V8'\ntR."),
        text_pickle("numpy", "dtype", b"(S'datetime64'\ntR."),
        text_pickle("numpy.core.multiarray", "_reconstruct", b")\x81."),  # made without a call
        text_pickle("numpy.core.multiarray", "_reconstruct", b"}b."),  # a state for the class
        reconstruct(b"(I1\n)NI00\nNt"),
        reconstruct(b"N"),
        pickle.dumps(np.array([1, 2], object), protocol=3),
        pickle.dumps(np.array([{}], object), protocol=3),
        pickle.dumps(np.array([{"lmks": a_list_of_itself()}], object), protocol=3),
        b"\x80\x04" + b"(" * 5000,
    ],
)
def test_damaged_pickles_are_user_errors(tmp_path, payload):
    with pytest.raises(UserError, match=r"a\.npy holds no usable landmarks"):
        Landmarks.load(write_npy(tmp_path / "a.npy", payload))


def test_bytes_are_never_taken_for_pointers(tmp_path, portrait: Landmarks):
    """An array of objects whose data are bytes, its data type's flags made up to let it pass."""
    good = pickle.dumps(np.array([frame_dict(portrait)], object), protocol=3)
    address = struct.pack("<Q", 0xDEAD)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0C\x01btR(K\x01(K\x01t"
        b"cnumpy\ndtype\n(X\x02\0\0\0O8tR(K\x03X\x01\0\0\0|NNNK\x08K\x01K\0tb\x89C\x08"
        + address
        + b"tb."
    )
    with pytest.raises(UserError, match="not a list of frames"):
        Landmarks.load(write_npy(tmp_path / "a.npy", array))
    Landmarks.load(write_npy(tmp_path / "a.npy", good))


def test_template_errors(tmp_path, portrait: Landmarks):
    path, good = tmp_path / "a.npy", frame_dict(portrait)
    for frames, message in (
        ([good, None], "frame 1 lacks bs, height, lmks, lmks3d, trans_mat, width"),
        ([good, {k: v for k, v in good.items() if k != "bs"}], "frame 1 lacks bs"),
        ([good, good | {"width": 3}], "different sizes"),
        ([good | {"lmks": good["lmks"][:468]}], "points should be"),
        ([good | {"lmks": "text"}], "expected numbers, got str"),
        ([good | {"lmks": good["lmks"] * np.nan}], "not finite"),
        ([good | {"lmks": np.array([None], object)}], "array of objects"),
        ([good | {"width": np.zeros(3)}], "no usable landmarks"),
        ([good | {"width": float("inf")}], "no usable landmarks"),
        ([], "no"),
    ):
        np.save(path, np.array([*frames, None], object)[:-1])
        with pytest.raises(UserError, match=message):
            Landmarks.load(path)
    np.save(path, np.zeros(3))
    with pytest.raises(UserError, match="one dict per frame"):
        Landmarks.load(path)
    path.write_bytes(b"no magic")
    with pytest.raises(UserError, match="no usable landmarks"):
        Landmarks.load(path)
