"""The networks of papers, for those who have their weights: here with random ones.

What they should say was recorded from the packages lpips 0.1.4 and pyiqa 0.1.16, with torch 2.13,
on the same random weights.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file

from emoji_jax import assets
from emoji_jax.errors import UserError
from emoji_jax.metrics import hyperiqa, lpips
from tests.metrics.test_metrics import needed, pictures

ALEXNET = {
    "0": (64, 3, 11, 11),
    "3": (192, 64, 5, 5),
    "6": (384, 192, 3, 3),
    "8": (256, 384, 3, 3),
    "10": (256, 256, 3, 3),
}


def alexnet(path):
    rng, found = np.random.RandomState(1), {}
    for name, shape in ALEXNET.items():
        kernel = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        found[f"features.{name}.weight"] = kernel.astype(np.float32)
        found[f"features.{name}.bias"] = (rng.standard_normal(shape[0]) * 0.1).astype(np.float32)
    save_file(found, path)
    return path


def resnet():
    """Names and shapes of ResNet-50's parameters, as torchvision and timm have them."""
    shapes, inputs = {"conv1.weight": (64, 3, 7, 7), "bn1": (64,)}, 64
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        width = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for number, (i, o, side) in enumerate(
                ((inputs, width, 1), (width, width, 3), (width, 4 * width, 1)), 1
            ):
                shapes[f"{name}.conv{number}.weight"] = (o, i, side, side)
                shapes[f"{name}.bn{number}"] = (o,)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes[f"{name}.downsample.1"] = (4 * width,)
            inputs = 4 * width
    return shapes


def hyperiqa_weights():
    shapes = {}
    for name, shape in resnet().items():
        norm = not name.endswith("weight")
        parts = ("weight", "bias", "running_mean", "running_var") if norm else ("",)
        for part in parts:
            shapes[f"base_model.{name}{'.' * norm}{part}"] = shape
    for i, (o, n) in enumerate(((16, 1024), (32, 512), (64, 256))):
        shapes[f"lda_modules.{i}.0.weight"] = (o, 256 * 2**i, 1, 1)
        shapes |= {f"lda_modules.{i}.3.weight": (16, n), f"lda_modules.{i}.3.bias": (16,)}
    shapes |= {"lda_modules.3.2.weight": (176, 2048), "lda_modules.3.2.bias": (176,)}
    widths = (224, 112, 56, 28, 14, 1)
    for i in range(4):
        o = widths[i] * widths[i + 1] // 49
        shapes |= {f"fc_w_modules.{i}.weight": (o, 112, 3, 3), f"fc_w_modules.{i}.bias": (o,)}
    shapes |= {"fc_w_modules.4.2.weight": (14, 112), "fc_w_modules.4.2.bias": (14,)}
    for i, o in enumerate(widths[1:]):
        shapes |= {f"fc_b_modules.{i}.2.weight": (o, 112), f"fc_b_modules.{i}.2.bias": (o,)}
    for i, (o, n) in zip((0, 2, 4), ((1024, 2048), (512, 1024), (112, 512)), strict=True):
        shapes |= {f"conv1.{i}.weight": (o, n, 1, 1), f"conv1.{i}.bias": (o,)}
    rng, found = np.random.RandomState(0), {}
    for name in sorted(shapes):
        shape = shapes[name]
        x = rng.standard_normal(shape).astype(np.float32)
        if name.endswith("running_var"):
            x = np.abs(x) * 0.2 + 0.9
        elif ".bn" in name or "downsample.1" in name:
            x = (x * 0.1 + name.endswith("weight")) * (0.3 if "bn3.weight" in name else 1)
        else:
            x = x * ((2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1)
        found[name] = x.astype(np.float32)
    return found


@pytest.mark.network
def test_lpips_is_that_of_papers(tmp_path, monkeypatch):
    needed(lambda: assets.fetch(lpips.HEADS))
    path = alexnet(tmp_path / "alexnet.safetensors")
    with pytest.raises(UserError, match="is another file: its SHA-256"):
        lpips.LPIPS(path)
    monkeypatch.setattr(lpips, "ALEXNET", "")
    found = lpips.LPIPS(path)(*pictures())
    np.testing.assert_allclose(found, [0.00311496, 0.16747469, 0.24279986], rtol=1e-4)
    assert lpips.heading(path) == "LPIPS (AlexNet)" != lpips.heading()


def test_hyperiqa_is_that_of_the_package(tmp_path, monkeypatch):
    weights = hyperiqa_weights()
    assert len(weights) == 302
    save_file(weights, tmp_path / "weights.safetensors")
    monkeypatch.setattr(hyperiqa, "START", "")
    a, b = pictures(224, 224)
    network = hyperiqa.HyperIQA(tmp_path / "weights.safetensors")
    found = network(np.stack([a[0], b[1]]))
    np.testing.assert_allclose(found, [844.8469, 924.0516], rtol=1e-4)


def test_crops():
    picture = np.random.default_rng(0).integers(0, 256, (300, 224, 3), np.uint8)
    found = hyperiqa.crops(picture)
    assert len(found) == 5
    np.testing.assert_array_equal(found[0], picture[:224])
    np.testing.assert_array_equal(found[-1], picture[-224:])
    assert hyperiqa.crops(picture[:100, :100]).shape == (1, 224, 224, 3)
    assert hyperiqa.crops(picture[:100]).shape == (5, 224, 224, 3)


def test_files_of_other_networks(tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors")
    for check in (hyperiqa.load, lpips.load_alexnet):
        with pytest.raises(UserError, match="is not "):
            check(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="can't be read"):
        hyperiqa.HyperIQA(tmp_path / "nothing")
