"""Every published name and shape, at full size, without memory or time."""

from collections.abc import Mapping

import numpy as np
import pytest

from emoji_jax import checkpoint, published
from emoji_jax.models.emoji import EmojiConfig, abstract
from tests.parity.reference import FILES


def shapes(golden, name: str) -> Mapping[str, np.ndarray]:
    """Arrays of the published shapes that take no memory."""
    path = golden / "keys" / f"keys_{name}.txt"
    if not path.is_file():
        pytest.skip(f"{golden} has no keys/{path.name}")
    lines = (line.split("\t") for line in path.read_text().splitlines())
    sizes = {key: tuple(int(n) for n in shape.split(",") if n) for key, shape in lines}
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in sizes.items()}


def wanted(network: str) -> dict[str, tuple[int, ...]]:
    _, state = abstract(EmojiConfig.release())
    flat = {key: leaf.shape for key, leaf in checkpoint.flatten(state[network]).items()}
    prompt = checkpoint.flatten(state["image_prompt"])
    own = {f"image_prompt.{k}": v.shape for k, v in prompt.items() if k.startswith(f"{network}.")}
    return flat | own


@pytest.mark.parametrize(
    ("network", "count"),
    [
        ("unet", 1276),
        ("appearance", 666),
        ("landmark_encoder", 16),
        ("vae", 248),
        ("clip", 392),
    ],
)
def test_all_names_convert(golden, tmp_path, network, count):
    source = shapes(golden, FILES[network])
    assert len(source) == count
    published.check(network, wanted(network), source, tmp_path)
    used = sum(
        source[published.published_name(k, published.NAMES[network])].size for k in wanted(network)
    )
    unused = {"unet": 1_208_320, "appearance": 320 * 320 + 320}.get(network, 0)
    assert used + unused == sum(x.size for x in source.values())


def test_animatediff_names_convert(golden, tmp_path):
    source = shapes(golden, "mm_sd_v15_v2")
    motion = {k: v for k, v in wanted("unet").items() if ".motion_modules." in k}
    assert len(source) == 588
    published.check("unet", motion, source, tmp_path)
