"""Encoding: training on what is stored is training on the pictures."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from flax import nnx

from emoji_jax import checkpoint
from emoji_jax.data import encoded
from emoji_jax.data.pipeline import PipelineConfig, batches
from emoji_jax.data.sources import Mixture, Prepared, Synthetic, check_encoded
from emoji_jax.data.transforms import ExampleConfig, example
from emoji_jax.encoder import Encoder, encode
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import EmojiConfig, Encoders
from emoji_jax.models.image_prompt import CLIPVisionConfig
from emoji_jax.models.init import Draws
from emoji_jax.models.vae import VAEConfig
from tests.data import prepared

SIZE, EVERY, LENGTHS = 64, 4, (9, 18, 3)
SPLITS = ("train", "validation", "train")
PLAIN = ExampleConfig(frames=3, size=SIZE, clip_size=28, max_stride=2, zoom=1.0, colour=0.0)


def networks() -> EmojiConfig:
    return dataclasses.replace(
        EmojiConfig.tiny(),
        size=(SIZE, SIZE),
        vae=VAEConfig((8, 16), layers=1, latent_channels=3, groups=4, patch=4, scaling=0.5),
        clip=CLIPVisionConfig(16, 32, 2, 2, image_size=28, patch_size=14, projection_dim=8),
    )


def save(directory: Path, seed: int) -> Path:
    """A checkpoint with random networks."""
    cfg = networks()
    state = nnx.state(Encoders(cfg, rngs=Draws(seed)), nnx.Param)
    checkpoint.save(directory, cfg, [(name, checkpoint.flatten(state[name])) for name in state])
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return prepared.write(tmp_path_factory.mktemp("data"), LENGTHS, SIZE, SPLITS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("weights") / "one", 0)


@pytest.fixture(scope="module")
def encoder(weights) -> Encoder:
    return Encoder(weights, None, EVERY, 5)


def run(data: Path, out: Path, encoder: Encoder) -> Path:
    assert encode(data, out, encoder, threads=2, name="encoded", size=2**20) == len(LENGTHS)
    return out


@pytest.fixture(scope="module")
def out(data, encoder, tmp_path_factory) -> Path:
    return run(data, tmp_path_factory.mktemp("out"), encoder)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_batches_are_those_of_the_pictures(data, weights, tmp_path):
    encoder = Encoder(weights, None, 1, 5)
    out = run(data, tmp_path / "out", encoder)
    flags.FLAGS.mark_as_parsed()
    pictures, stored = (
        next(batches(Prepared(folder, "train"), PipelineConfig(4, seed=1), PLAIN))
        for folder in (data, out)
    )
    shapes = {name: (value.shape, value.dtype.name) for name, value in stored.items()}
    assert shapes == {
        "latents": ((4, 3, 8, 8, 3), "float16"),
        "reference_latents": ((4, 8, 8, 3), "float16"),
        "clip_tokens": ((4, 5, 16), "float16"),
        "landmarks": ((4, 3, SIZE, SIZE, 3), "uint8"),
        "expression_mask": ((4, 3, 8, 8, 1), "uint8"),
        "face_mask": ((4, 3, 8, 8, 1), "uint8"),
        "clip": ((4,), "int64"),
    }
    for name in ("landmarks", "expression_mask", "face_mask", "clip"):
        np.testing.assert_array_equal(stored[name], pictures[name])
    cfg = networks()
    model = Encoders(cfg, rngs=Draws(0))
    unit = {name: jnp.asarray(x / np.float32(127.5) - 1) for name, x in pictures.items()}
    frames = unit["frames"].reshape(-1, SIZE, SIZE, 3)
    expected = {
        "latents": model.vae.encode(frames).reshape(stored["latents"].shape),
        "reference_latents": model.vae.encode(unit["reference"]),
        "clip_tokens": model.clip(jnp.asarray(pictures["clip_pixels"])),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(stored[name], value, rtol=1e-3, atol=1e-3)
        assert np.std(stored[name]) > 0.1


def test_splits_texts_and_references(data, out):
    for split, lengths in (("train", (9, 3)), ("validation", (18,))):
        source, pictures = Prepared(out, split), Prepared(data, split)
        assert [len(clip) for clip in source] == list(lengths)
        for i in range(len(source)):
            ours, theirs = source.record(i), pictures.record(i)
            assert ours["name"] == theirs["name"] and ours["licence"] == b"CC0-1.0"
            np.testing.assert_array_equal(ours["points"], theirs["points"])
            chosen = {source[i].reference(frame) for frame in range(len(source[i]))}
            assert chosen == set(range(0, len(source[i]), EVERY))
    clip = Prepared(out, "validation")[0]
    assert [clip.reference(frame) for frame in (0, 3, 4, 17)] == [0, 0, 4, 16]
    assert not np.array_equal(clip.clip_tokens(0), clip.clip_tokens(16))


def test_stopped_run_goes_on(data, out, weights, tmp_path, monkeypatch):
    class Stopped(Encoder):
        count = 0

        def latents(self, pictures):
            self.count += 1
            if self.count == 2:
                raise KeyboardInterrupt
            return super().latents(pictures)

    ours = tmp_path / "ours"
    with pytest.raises(KeyboardInterrupt):
        run(data, ours, Stopped(weights, None, EVERY, 5))
    assert len(list(ours.glob("parts/*/*.part"))) == 1
    assert not (ours / "dataset_info.json").exists()
    again = Stopped(weights, None, EVERY, 5)
    again.count = 2
    run(data, ours, again)
    assert again.count == 4
    assert contents(ours) == contents(out)


def test_another_checkpoint_encodes_anew(data, out, tmp_path):
    ours = tmp_path / "ours"
    other = Encoder(save(tmp_path / "two", 1), None, EVERY, 5)
    for encoder in (other, Encoder(tmp_path / "two", 2 * SIZE, EVERY, 5)):
        run(data, ours, encoder)
        assert encoded.EncodedConfig.read(ours) == encoder.config
        assert len(list(ours.glob("parts/*/*.part"))) == len(LENGTHS)
    first, second = (Prepared(folder, "train")[0].latents(np.arange(2)) for folder in (out, ours))
    assert first.shape == (2, 8, 8, 3) and second.shape == (2, 16, 16, 3)
    with pytest.raises(ValueError, match="clips of 16 latents a side are not of pictures of 64"):
        example(Prepared(ours, "train")[0], np.random.default_rng(0), PLAIN)
    warped = dataclasses.replace(PLAIN, warped=True)
    with pytest.raises(ValueError, match="no picture to warp"):
        example(Prepared(out, "train")[0], np.random.default_rng(0), warped)


def test_other_networks_are_refused(out, encoder):
    found = encoded.EncodedConfig.read(out)
    assert found == encoder.config
    sizes = {"size": SIZE, "factor": 8, "scaling": 0.5, "clip_size": 28}

    def described(changed: str = "", **changes) -> encoded.EncodedConfig:
        flat = checkpoint.flatten(nnx.state(Encoders(networks(), rngs=Draws(0)), nnx.Param))
        flat |= {name: x + 1 for name, x in flat.items() if changed and changed in name}
        return encoded.describe(flat, **(sizes | changes))

    source = Mixture([Prepared(out, "train"), Prepared(out, "validation")], [1.0, 1.0])
    check_encoded(source, described)
    with pytest.raises(UserError, match="another autoencoder"):
        check_encoded(source, lambda: described("quant_conv"))
    check_encoded(Synthetic(0, 0, 8, 4, SIZE), lambda: pytest.fail("not needed"))
    for unseen in ("", "vae.decoder.", "clip.visual_projection.", "clip.post_layernorm."):
        found.check(out, described(unseen))
    for changed, changes, message in (
        ("vae.encoder.conv_in.bias", {}, "another autoencoder"),
        ("vae.quant_conv.bias", {}, "another autoencoder"),
        ("", {"scaling": 0.6}, "another autoencoder"),
        ("clip.layers.1.fc2.bias", {}, "another CLIP"),
        ("", {"size": 128}, "size 64 instead of 128"),
        ("conv_in", {"clip_size": 56}, "clip_size 28 instead of 56, another autoencoder"),
    ):
        with pytest.raises(UserError, match=f"was encoded with {message}; run `python"):
            found.check(out, described(changed, **changes))


def test_encoded_clips_and_pictures_are_not_mixed(out):
    with pytest.raises(UserError, match="can't be mixed with pictures"):
        Mixture([Prepared(out, "train"), Synthetic(0, 0, 8, 4, SIZE)], [1.0, 1.0])
    mixture = Mixture([Prepared(out, "train"), Prepared(out, "validation")], [1.0, 1.0])
    assert len(mixture) == 4


def test_what_cannot_be_encoded(data, out, weights, encoder, tmp_path):
    options = {"encoder": encoder, "threads": 1, "name": "encoded", "size": 2**20}
    with pytest.raises(UserError, match="has encoded clips already"):
        encode(out, tmp_path, **options)
    with pytest.raises(UserError, match="has no prepared clips"):
        encode(tmp_path, tmp_path / "out", **options)
    copy = prepared.write(tmp_path / "copy", [2], SIZE)
    with pytest.raises(UserError, match="has a dataset of pictures; give another --out"):
        encode(data, copy, **options)
    with pytest.raises(UserError, match=r"config\.size is 100; expected a multiple of 8"):
        Encoder(weights, 100, EVERY, 5)
    broken = Encoder(weights, None, EVERY, 5)
    broken._parameters = jax.tree.map(lambda x: x * np.nan, broken._parameters)
    with pytest.raises(UserError, match="clip 0 has latents or tokens that are no numbers"):
        encode(data, tmp_path / "out", **(options | {"encoder": broken}))
    assert not (tmp_path / "out" / "dataset_info.json").exists()


def test_command(data, out, weights, tmp_path):
    command = [sys.executable, "-m", "emoji_jax.encode", f"--data={data}", f"--out={tmp_path}"]
    options = [f"--checkpoint={weights}", f"--config.every={EVERY}", "--config.batch=5"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}: 3 clips\n"
    assert contents(tmp_path) == contents(out)
    for options, message in (
        ([f"--checkpoint={weights}", "--config.batch=0"], "config.batch is 0; expected at least 1"),
        (["--checkpoint=nowhere"], "there is no checkpoint nowhere"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
