"""Conversion of a whole folder, strictly and safely."""

import collections
import dataclasses
import os
import pickle
import re
import zipfile

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from flax import nnx

from emoji_jax import checkpoint, convert
from emoji_jax.errors import UserError
from emoji_jax.torch_file import TensorFile
from tests.release_folder import (
    CONFIG,
    published_weights,
    save_torch,
    write_base,
    write_release,
)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release"))


def run(root, out, **options):
    convert.flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(release=str(root), out=str(out), **options):
        convert.main()


def test_release_round_trip(release, tmp_path):
    run(release, tmp_path / "out")
    cfg, _, state = checkpoint.load(tmp_path / "out")
    assert cfg == CONFIG
    unet = published_weights("unet", 0)
    block = state["unet"]["down_blocks"][0]
    theirs = unet["down_blocks.0.resnets.0.conv1.weight"]
    np.testing.assert_array_equal(
        block["resnets"][0]["conv1"]["kernel"].get_value(), theirs.transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        block["attentions"][0]["proj_in"]["kernel"].get_value(),
        unet["down_blocks.0.attentions.0.proj_in.weight"][:, :, 0, 0].T,
    )
    appearance = published_weights("appearance", 0)
    np.testing.assert_array_equal(
        state["image_prompt"]["appearance"]["kernel"].get_value(), appearance["clip_fc.weight"].T
    )
    vae = published_weights("vae", 0)
    attention = state["vae"]["decoder"]["mid_block"]["attentions"][0]["attention"]
    np.testing.assert_array_equal(
        attention["to_out"]["kernel"].get_value(),
        vae["decoder.mid_block.attentions.0.to_out.0.weight"].T,
    )


def test_paper_from_base_zeroes_extra_channels(release, tmp_path):
    write_base(release)
    run(release, tmp_path / "out", preset="paper", base=True)
    cfg, graph, state = checkpoint.load(tmp_path / "out")
    assert cfg.masked and cfg.image_prompt.queries
    kernel = state["unet"]["conv_in"]["kernel"].get_value()
    assert kernel.shape[2] == 9 and not np.any(kernel[:, :, 4:]) and np.all(kernel[:, :, :4])
    motion = published_weights("unet", 1)
    name = "mid_block.motion_modules.0.temporal_transformer.proj_out.weight"
    np.testing.assert_array_equal(
        state["unet"]["mid_block"]["motion_modules"][0]["proj_out"]["kernel"].get_value(),
        motion[name].T,
    )
    assert not np.any(state["landmark_encoder"]["conv_out"]["kernel"].get_value())
    nnx.merge(graph, state)


def test_paper_from_released_weights(release, tmp_path):
    run(release, tmp_path / "out", preset="paper")
    cfg, _, state = checkpoint.load(tmp_path / "out")
    assert cfg.masked and "qformer" in state["image_prompt"]
    assert np.any(state["landmark_encoder"]["conv_out"]["kernel"].get_value())


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda w: w.pop("conv_in.bias"), "1 missing (conv_in.bias)"),
        (lambda w: w.update(extra=np.zeros(3, np.float32)), "1 unexpected (extra)"),
        (
            lambda w: w.update({"conv_in.bias": np.zeros(5, np.float32)}),
            "conv_in.bias (5,) instead of (32,)",
        ),
    ],
)
def test_a_name_too_many_or_too_few_is_refused(release, tmp_path, damage, expected):
    for item in release.iterdir():
        os.symlink(item, tmp_path / item.name)
    os.unlink(tmp_path / "follow-your-emoji")
    for name in ("unet.pth", "lmk_guider.pth"):
        (tmp_path / "follow-your-emoji").mkdir(exist_ok=True)
        os.symlink(release / "follow-your-emoji" / name, tmp_path / "follow-your-emoji" / name)
    weights = published_weights("appearance", 0)
    damage(weights)
    save_torch(tmp_path / "follow-your-emoji" / "referencenet.pth", weights)
    with pytest.raises(UserError) as error:
        run(tmp_path, tmp_path / "out")
    assert expected in str(error.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.unfinished"))


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/emoji_jax_was_here",)


def test_a_pickle_that_asks_for_more_than_tensors_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Attack()}))
    with pytest.raises(UserError, match=r"posix\.system|os\.system"):
        TensorFile(path)
    assert not os.path.exists("/tmp/emoji_jax_was_here")


def test_a_pickle_cannot_change_what_it_is_given(tmp_path):
    """The opcode that sets an object's state must reach nothing that outlives the file."""
    state = pickle.PROTO + b"\x02" + b"ctorch\nBFloat16Storage\n" + b"(I3\nI4\nI64\nt" + b"b."
    build = pickle.PROTO + b"\x02" + b"ctorch._utils\n_rebuild_tensor_v2\n" + b"}b."
    for number, content in enumerate((state, build)):
        path = tmp_path / f"evil{number}.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        with pytest.raises(UserError, match="sets attributes"):
            TensorFile(path)


def test_versions_of_modules_beside_the_tensors_are_passed_over(tmp_path):
    weights = collections.OrderedDict(a=np.ones(2, np.float32))
    weights._metadata = {"": {"version": 1}}
    save_torch(tmp_path / "a.pth", weights)
    assert list(TensorFile(tmp_path / "a.pth")) == ["a"]


def test_files_from_before_pytorch_1_6(tmp_path):
    path = tmp_path / "old.pth"
    weights = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(3),
        "c": np.arange(2, dtype=np.float16),
    }
    save_torch(path, weights, old=True)
    file = TensorFile(path)
    assert list(file) == list(weights)
    for name, values in weights.items():
        assert file[name].dtype == values.dtype
        np.testing.assert_array_equal(file[name], values)
    whole = path.read_bytes()
    for length in (8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"is it whole|cut short"):
            TensorFile(path)
    path.write_bytes(re.sub(rb"(?<=little_endianq.)\x88", b"\x89", whole, flags=re.S))
    with pytest.raises(UserError, match="big-endian"):
        TensorFile(path)


def test_an_old_file_that_asks_for_more_than_tensors_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weight": Attack()}, []]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(UserError, match=r"posix\.system|os\.system"):
        TensorFile(path)
    assert not os.path.exists("/tmp/emoji_jax_was_here")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        TensorFile(path)


def test_truncated_file(release, tmp_path):
    whole = (release / "follow-your-emoji" / "unet.pth").read_bytes()
    path = tmp_path / "unet.pth"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is it whole"):
        TensorFile(path)


def test_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    save_torch(path, {"a": np.zeros(4, np.float32)})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["archive/data/0"] = parts["archive/data/0"][:8]
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(UserError, match="beyond its storage"):
        TensorFile(path)


def test_half_precision_is_kept(tmp_path):
    value = np.arange(6, dtype=np.float16).reshape(2, 3)
    save_torch(tmp_path / "half.pth", {"a": value, "step": 3})
    file = TensorFile(tmp_path / "half.pth")
    assert list(file) == ["a"] and file["a"].dtype == np.float16
    np.testing.assert_array_equal(file["a"], value)


def test_foreign_checkpoint(tmp_path):
    with pytest.raises(UserError, match="is no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1, "preset": "release"}')
    with pytest.raises(UserError, match="not a configuration of this version"):
        checkpoint.load(tmp_path)


def test_checkpoint_of_another_preset(release, tmp_path):
    """Weights whose configuration says something else are not half loaded."""
    run(release, tmp_path / "out")
    wrong = dataclasses.replace(CONFIG, unet=dataclasses.replace(CONFIG.unet, in_channels=9))
    text = (tmp_path / "out" / "config.json").read_text()
    assert '"in_channels": 4' in text
    (tmp_path / "out" / "config.json").write_text(
        text.replace('"in_channels": 4', '"in_channels": 9')
    )
    assert checkpoint.read_config(tmp_path / "out") == wrong
    with pytest.raises(UserError, match=r"conv_in.kernel \(3, 3, 4, 32\) instead of"):
        checkpoint.load(tmp_path / "out")


def test_existing_checkpoint_is_not_overwritten(release, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        run(release, tmp_path / "out")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"lmk_guider\.pth is missing"):
        run(tmp_path, tmp_path / "out")


def test_half_precision_is_for_matrices_only(release, tmp_path):
    run(release, tmp_path / "out")
    _, _, state = checkpoint.load(tmp_path / "out", dtype="bfloat16")
    for name in state:
        for leaf in jax.tree.leaves(state[name]):
            half = leaf.ndim > 1 and name != "vae"
            assert leaf.dtype == np.dtype("bfloat16" if half else "float32")
