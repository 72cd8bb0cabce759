"""Noise tables and whole sampling runs against numbers recorded from the released code."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

from emoji_jax import diffusion
from emoji_jax.models.emoji import Emoji
from emoji_jax.programs import Programs
from emoji_jax.sampling import (
    SamplerConfig,
    Window,
    denoise,
    released_windows,
)
from tests.parity.reference import assert_close, image, numbers, tiny, video


@pytest.fixture(scope="module")
def record(golden):
    return numbers(golden, "tiny/scheduler")


def test_tables(record):
    ours = diffusion.schedule()
    assert_close(ours.alphas_cumprod, record["alphas_cumprod"], 1e-6)
    assert ours.alphas_cumprod[-1] == 0
    for name in record:
        if name.startswith("timesteps_"):
            steps = diffusion.trailing_timesteps(len(record[name]))
            np.testing.assert_array_equal(steps, record[name])


def test_ddim_steps(record):
    schedule = diffusion.schedule()
    x, v = jnp.asarray(record["sample"]), jnp.asarray(record["model_output"])
    checked = 0
    for name, t in record.items():
        if not (name.startswith("n") and name.endswith("/t")):
            continue
        steps, i = (int(part[1:]) for part in name.removesuffix("/t").split("_"))
        table = diffusion.ddim(schedule, steps)
        assert table.t[i] == t
        nothing = (jnp.zeros_like(x),) * 2
        stepped, (x0, _) = diffusion.update(tuple(table.rows()[i]), x, v, nothing)
        prefix = name.removesuffix("t")
        assert_close(stepped, record[f"{prefix}prev_sample"], 1e-5)
        assert_close(x0, record[f"{prefix}pred_original_sample"], 1e-5)
        checked += 1
    assert checked >= 4


def test_training_targets(record):
    schedule = diffusion.schedule()
    x0, eps, t = (jnp.asarray(record[f"train/{name}"]) for name in ("x0", "noise", "t"))
    noisy = diffusion.add_noise(schedule, x0, eps, t)
    v = diffusion.velocity(schedule, x0, eps, t)
    assert_close(noisy, record["train/add_noise"], 1e-5)
    assert_close(v, record["train/velocity"], 1e-5)
    clean, noise = diffusion.to_x0_eps(schedule, noisy, v, t)
    assert_close(clean, x0, 1e-5)
    assert_close(noise, eps, 1e-5)


def gaussian_tiles(length: int, overlap: int):
    """Tiles of the released long-video code, blended by a Gaussian of the place in the tile."""

    def windows(count: int, step: int) -> list[Window]:
        tiles = int(np.ceil((count - overlap) / (length - overlap)))
        starts = [min(i * (length - overlap), count - length) for i in range(tiles)]
        place = np.arange(length) - (length - 1) / 2
        weights = np.exp(-(place**2) / (length**2 * 2 * 0.01)).astype(np.float32)
        return [Window(np.arange(start, start + length), weights) for start in starts]

    return windows


@pytest.mark.parametrize("name", ["pipeline", "pipeline_nocfg", "pipeline_ctx", "pipeline_long"])
def test_whole_run(golden, name):
    record = numbers(golden, f"tiny/{name}")
    with safe_open(golden / "tiny" / f"{name}.safetensors", "numpy") as file:
        told = file.metadata()
    model: Emoji = tiny(golden)
    programs = Programs(model.cfg, *nnx.split(model))
    portrait = jnp.asarray(record["ref_image_u8"][None], jnp.float32) / 127.5 - 1
    latents = model.vae.encode(portrait)
    assert_close(latents, image(record["ref_latents"]), 5e-5)
    clip_tokens = jnp.asarray(record["clip_last_hidden_state"])
    conditions = model.condition_on(latents, model.image_prompt.gather(clip_tokens))
    if "lmk_fea_frame0" in record:
        features = model.landmark_encoder(
            jnp.asarray(record["lmk_images_u8"][:1], jnp.float32) / 255
        )
        assert_close(features[None], video(record["lmk_fea_frame0"]), 5e-5)

    config = SamplerConfig(
        steps=int(told["steps"]), guidance_scale=float(told["guidance_scale"]), frames=24
    )
    windows = lambda count, step: released_windows(  # noqa: E731
        count, step, int(told.get("context_frames", 24))
    )
    if "t_tile_length" in told:
        windows = gaussian_tiles(int(told["t_tile_length"]), int(told["t_tile_overlap"]))
    initial = np.asarray(video(record["initial_latents"])[0])
    final = denoise(
        programs,
        conditions,
        [record["lmk_images_u8"]],
        config,
        seed=0,
        noise=initial,
        windows=windows,
    )[0]
    assert_close(final[None], video(record["final_latents"]), 3e-3)
    pictures = jnp.clip(model.vae.decode(jnp.asarray(final)) / 2 + 0.5, 0, 1)
    assert_close(pictures[None], video(record["video"]), 1e-3)


def test_clip_program_equals_windows(golden):
    """One compiled loop over all steps, and windows step by step, are the same sampler."""
    record = numbers(golden, "tiny/pipeline")
    model = tiny(golden)
    programs = Programs(model.cfg, *nnx.split(model))
    conditions = model.condition_on(
        image(record["ref_latents"]), jnp.asarray(record["clip_last_hidden_state"])
    )
    pictures, noise = record["lmk_images_u8"], np.asarray(video(record["initial_latents"])[0])
    config = SamplerConfig(name="dpmpp_2m", steps=3, frames=len(noise))
    every = np.arange(len(noise))
    ones = np.ones(len(noise), np.float32)
    run = dataclasses.replace
    one = denoise(programs, conditions, [pictures], run(config), seed=0, noise=noise)
    twice = denoise(
        programs,
        conditions,
        [pictures],
        config,
        seed=0,
        noise=noise,
        windows=lambda count, step: [Window(every, ones), Window(every, 2 * ones)],
    )
    assert_close(twice, one, 3e-3)
