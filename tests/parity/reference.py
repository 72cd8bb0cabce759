"""Recorded numbers of the PyTorch code, and our networks with the weights they were made with."""

import dataclasses
import functools
import json
import os
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from emoji_jax import published
from emoji_jax.models.emoji import Emoji, EmojiConfig, abstract
from emoji_jax.models.image_prompt import CLIPVision, CLIPVisionConfig
from emoji_jax.models.init import Draws
from emoji_jax.models.landmark_encoder import LandmarkEncoderConfig
from emoji_jax.models.layers import Compute
from emoji_jax.models.motion import position_encoding
from emoji_jax.models.unet import UNetConfig
from emoji_jax.models.vae import VAEConfig

FILES = {
    "unet": "unet",
    "appearance": "referencenet",
    "landmark_encoder": "lmk_guider",
    "vae": "vae",
    "clip": "clip",
}

# Largest difference seen by each test, for the summary.
ERRORS: dict[str, float] = {}


def numbers(golden: Path, name: str) -> dict[str, np.ndarray]:
    """One recorded file; the test is skipped where a folder does not have it."""
    path = golden / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{golden} has no {name}")
    return load_file(path)


def settings(golden: Path) -> dict:
    return json.loads((golden / "tiny" / "config.json").read_text())


def tiny_config(golden: Path) -> EmojiConfig:
    """Configuration of the tiny networks, read from the folder."""
    s = settings(golden)
    return dataclasses.replace(
        EmojiConfig.release(),
        size=(8 * s["h"], 8 * s["w"]),
        unet=UNetConfig(channels=tuple(s["boc"]), groups=s["groups"]),
        landmark_encoder=LandmarkEncoderConfig(tuple(s["gboc"])),
        vae=VAEConfig(channels=tuple(s["vae"]), groups=s["vaegroups"]),
        clip=CLIPVisionConfig(num_hidden_layers=0),
    )


def recipe(model: str, key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The weights that the numbers were recorded with are functions of name, shape and seed."""
    bits = np.random.Philox(
        key=np.array([zlib.crc32(f"{model}/{key}".encode()), seed], dtype=np.uint64)
    ).random_raw(int(np.prod(shape)))
    x = (2 * ((bits >> np.uint64(40)) * 2.0**-24) - 1) * np.sqrt(3)
    if len(shape) == 1:
        x = 1 + 0.1 * x if key.endswith("weight") else 0.1 * x
    else:
        gain = 1.45 if model == "lmk_guider" else 1
        x = x * gain / np.sqrt(np.prod(shape[1:]))
    return x.astype(np.float32).reshape(shape)


def torch_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in PyTorch, up to trailing ones, of one of our parameters."""
    if not key.endswith("kernel"):
        return shape
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def fill(state: nnx.State, network: str, seed: int) -> None:
    """Gives one network the weights of the recipe, by way of the converter's tables."""
    for path, leaf in nnx.to_flat_state(state):
        key = ".".join(map(str, path))
        name = published.published_name(key, published.NAMES[network])
        source = recipe(FILES[network], name, torch_shape(key, leaf.shape), seed)
        leaf.set_value(jnp.asarray(published.to_jax(source, key, len(leaf.shape))))


def build(cfg: EmojiConfig, seed: int) -> Emoji:
    """All networks with the weights of the recipe."""
    graph, state = abstract(cfg)
    for network in FILES:
        fill(state[network], network, seed)
    # The projections of the image prompt are published with the networks that they feed.
    for network in ("unet", "appearance"):
        fill(nnx.State({"image_prompt": {network: state["image_prompt"][network]}}), network, seed)
    return nnx.merge(graph, state)


@functools.cache
def tiny(golden: Path) -> Emoji:
    """The tiny networks; CLIP, whose tokens were recorded apart, is empty."""
    cfg = tiny_config(golden)
    return build(cfg, settings(golden)["seed"])


def tiny_clip(golden: Path) -> CLIPVision:
    config = {k: v for k, v in settings(golden)["clip"].items() if k != "hidden_act"}
    clip = nnx.eval_shape(
        lambda: CLIPVision(CLIPVisionConfig(**config), Compute(), rngs=Draws(None))
    )
    graph, state = nnx.split(clip)
    fill(state, "clip", settings(golden)["seed"])
    return nnx.merge(graph, state)


def video(x: np.ndarray) -> jax.Array:
    """B C F H W as PyTorch has it, to B F H W C."""
    return jnp.asarray(x.transpose(0, 2, 3, 4, 1))


def image(x: np.ndarray) -> jax.Array:
    """B C H W as PyTorch has it, to B H W C."""
    return jnp.asarray(x.transpose(0, 2, 3, 1))


def assert_close(ours: jax.Array, theirs: jax.Array | np.ndarray, tolerance: float) -> float:
    """Compares by the largest absolute difference, and returns it."""
    assert ours.shape == theirs.shape
    error = float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max())
    name = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split(" ")[0]
    ERRORS[name] = max(error, ERRORS.get(name, 0.0))
    assert error <= tolerance, f"largest difference {error:.2e} exceeds {tolerance:.0e}"
    return error


def unused_position_table(table: np.ndarray) -> float:
    """How far a published position table is from what is computed here."""
    return float(np.abs(table[0] - position_encoding(*table.shape[1:])).max())
