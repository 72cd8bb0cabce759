"""What stands behind a synthetic person, and the grain of stone: made once per clip."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from emoji_jax.data.synthetic.identity import Identity


def backdrop(identity: Identity, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the background of a picture of `size` (height, width)."""
    height, width = size
    y, x = np.mgrid[:height, :width] / max(height, width)
    rng = np.random.default_rng(identity.noise)
    turn, scale, phase = rng.uniform(0, np.pi), rng.uniform(3, 9), rng.uniform(0, 6)
    u = x * np.cos(turn) + y * np.sin(turn)
    match identity.background:
        case "flat":
            share = 0 * x
        case "gradient":
            share = (u - u.min()) / max(np.ptp(u), 1e-6)
        case "glow":
            share = np.exp(-((x - 0.5) ** 2 + (y - 0.45) ** 2) / 0.12)
        case "stripes":
            share = 0.6 * (np.sin(2 * np.pi * scale * u + phase) * 9).clip(-0.5, 0.5) + 0.3
        case "dots":
            v = y * np.cos(turn) - x * np.sin(turn)
            wave = np.cos(2 * np.pi * scale * u) + np.cos(2 * np.pi * scale * v)
            share = (4 * (wave - 1.1)).clip(0, 0.7)
        case _:
            share = texture(rng, size, 4)
    first, second = np.array(identity.background_colours)
    return (first + (second - first) * share[..., None]).clip(0, 255).astype(np.uint8)


def texture(
    rng: np.random.Generator, size: tuple[int, int], cells: int
) -> Float32[np.ndarray, "H W"]:
    """Returns smooth noise in [0, 1] with about `cells` blobs along each side."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    smooth = coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 255


def grain(identity: Identity, size: tuple[int, int]) -> Float32[np.ndarray, "H W 1"]:
    """Returns the factor by which stone is lighter or darker at every pixel."""
    rng = np.random.default_rng(identity.noise)
    fine = texture(rng, size, max(4, min(size) // 2))
    return (1 + 0.14 * (fine - 0.5) + 0.07 * (texture(rng, size, 7) - 0.5))[..., None]
