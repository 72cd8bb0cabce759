"""What a batch costs, and what the networks are shown."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from emoji_jax import diffusion
from emoji_jax.models.emoji import Emoji
from emoji_jax.models.init import Draws
from emoji_jax.models.unet import UNet
from emoji_jax.training import animation
from emoji_jax.training.animation import AnimationConfig, known_frames
from emoji_jax.training.losses import snr_weights
from tests.models.test_models import shaken
from tests.training.small import NETWORKS

KEY = jax.random.key(0)


def batch(frames: int, clips: int = 2) -> dict[str, jax.Array]:
    rng = np.random.default_rng(frames)
    h = NETWORKS.size[0] // NETWORKS.vae.factor

    def pictures(*leading: int) -> jax.Array:
        return jnp.asarray(rng.integers(0, 256, (*leading, *NETWORKS.size, 3), np.uint8))

    def mask() -> jax.Array:
        return jnp.asarray(rng.integers(0, 2, (clips, frames, h, h, 1), np.uint8))

    return {
        "frames": pictures(clips, frames),
        "reference": pictures(clips),
        "clip_pixels": jnp.asarray(rng.standard_normal((clips, 28, 28, 3), np.float32)),
        "landmarks": pictures(clips, frames),
        "expression_mask": mask(),
        "face_mask": mask(),
    }


def networks(*, motion: bool) -> Emoji:
    cfg = dataclasses.replace(NETWORKS, unet=dataclasses.replace(NETWORKS.unet, motion=motion))
    return shaken(Emoji(cfg, rngs=Draws(0)))


@pytest.fixture(scope="module")
def stage1() -> Emoji:
    return networks(motion=False)


@pytest.fixture(scope="module")
def stage2() -> Emoji:
    return networks(motion=True)


def seen(monkeypatch, model: Emoji, cfg: AnimationConfig, frames: int = 4) -> dict:
    """What the UNet is called with, and the loss."""
    found = {}
    call = UNet.__call__

    def spy(self, x, t, conditions):
        found.update(x=x, t=t, conditions=conditions)
        return call(self, x, t, conditions)

    monkeypatch.setattr(UNet, "__call__", spy)
    found["loss"], found["metrics"] = animation.loss(
        model, batch(frames), KEY, cfg, diffusion.schedule()
    )
    return found


def test_total_is_both_losses(monkeypatch, stage2):
    found = seen(monkeypatch, stage2, AnimationConfig(ffg=1.0))
    m = found["metrics"]
    np.testing.assert_allclose(found["loss"], m["loss_ldm"] + m["loss_ffg"], rtol=1e-5)
    np.testing.assert_allclose(m["examples"].mean(), found["loss"], rtol=1e-5)
    assert m["examples"].shape == (2,)


def test_min_snr_weights_the_total_by_timestep(monkeypatch, stage2):
    plain, weighted = (
        seen(monkeypatch, stage2, AnimationConfig(min_snr=gamma)) for gamma in (0.0, 5.0)
    )
    weights = snr_weights(diffusion.schedule(), plain["t"], 5.0)
    assert not np.allclose(weights, 1)
    expected = weights * plain["metrics"]["examples"]
    np.testing.assert_allclose(weighted["metrics"]["examples"], expected, rtol=1e-4)
    np.testing.assert_allclose(weighted["loss"], expected.mean(), rtol=1e-4)
    # What is logged can be compared with that of a run without.
    for name in ("loss_ldm", "loss_ffg"):
        np.testing.assert_allclose(weighted["metrics"][name], plain["metrics"][name], rtol=1e-4)


def test_noise_offset_is_the_same_in_all_frames_of_a_clip(monkeypatch, stage2):
    cfg = AnimationConfig(noise_offset=100.0, ends_known=0.0, each_known=0.0)
    means = np.asarray(seen(monkeypatch, stage2, cfg)["x"][..., :4]).mean((2, 3))
    assert np.abs(means).max() > 10
    # Timesteps are a clip's, so that what differs between its frames is small noise's mean.
    np.testing.assert_allclose(means, np.repeat(means[:, :1], 4, 1), atol=2)


def test_stage_1_takes_frames_one_by_one(monkeypatch, stage1):
    found = seen(monkeypatch, stage1, AnimationConfig())
    assert found["x"].shape[:2] == (8, 1)
    assert len(np.unique(found["t"])) > 2  # each with its own timestep
    assert found["conditions"].tokens.shape[0] == 8


def test_stage_2_takes_clips(monkeypatch, stage2):
    found = seen(monkeypatch, stage2, AnimationConfig())
    assert found["x"].shape[:2] == (2, 4)
    assert found["t"].shape == (2,)


def test_the_networks_see_known_frames_clean(monkeypatch, stage2):
    everything = AnimationConfig(ends_known=0.0, each_known=1.0)
    x = np.asarray(seen(monkeypatch, stage2, everything)["x"])
    x0 = animation.encode(stage2, batch(4), jax.random.split(KEY, 6)[0])[0]
    np.testing.assert_allclose(x[..., 4:8], x0, atol=1e-5)
    np.testing.assert_array_equal(x[..., 8], 1)
    nothing = AnimationConfig(ends_known=0.0, each_known=0.0)
    np.testing.assert_array_equal(np.asarray(seen(monkeypatch, stage2, nothing)["x"])[..., 4:], 0)


def test_progressive_masks_are_the_papers():
    known = np.asarray(known_frames(KEY, 4000, 6, AnimationConfig(), motion=True))
    ends = (known == [True, False, False, False, False, True]).all(1)
    # Half of the clips by choice, and 1 of 64 of the others by chance.
    assert abs(ends.mean() - (0.5 + 0.5 / 64)) < 0.03
    others = known[~ends]
    assert abs(others[:, 1:-1].mean() - 0.5) < 0.03


def test_single_frames_are_known_by_their_own_probability():
    known = np.asarray(known_frames(KEY, 4000, 1, AnimationConfig(known=0.25), motion=False))
    assert abs(known.mean() - 0.25) < 0.03


def test_dropped_samples_see_no_portrait(monkeypatch, stage1):
    losses = []
    for drop in (0.0, 1.0):
        for reference in (0, 1):
            other = batch(4)
            other["reference"] = jnp.roll(other["reference"], reference, 0)
            other["clip_pixels"] = jnp.roll(other["clip_pixels"], reference, 0)
            cfg = AnimationConfig(drop=drop)
            losses.append(animation.loss(stage1, other, KEY, cfg, diffusion.schedule())[0])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[2], losses[3], rtol=1e-6)


@pytest.mark.parametrize("mask", ["expression_mask", "face_mask"])
def test_ablations_of_masks(stage1, mask):
    def facial(**off) -> float:
        cfg = AnimationConfig(**off)
        return float(
            animation.loss(stage1, batch(1), KEY, cfg, diffusion.schedule())[1]["loss_ffg"]
        )

    assert 0 < facial(**{mask: False}) < facial()
    assert facial(expression_mask=False, face_mask=False) == 0


def test_stored_latents_stand_for_pictures(stage1):
    pictures = batch(2)
    x0, reference, tokens = animation.encode(stage1, pictures, KEY)
    stored = {"latents": x0, "reference_latents": reference, "clip_tokens": tokens}
    stored |= {n: pictures[n] for n in ("landmarks", "expression_mask", "face_mask")}
    cfg = AnimationConfig()
    keys = jax.random.split(KEY, 6)
    expected = animation.encode(stage1, pictures, keys[0])[0]
    stored["latents"] = expected
    losses = [
        animation.loss(stage1, b, KEY, cfg, diffusion.schedule())[0] for b in (pictures, stored)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_noise_offset_is_the_same_all_over_a_sample(monkeypatch, stage1):
    means = []
    for offset in (0.0, 3.0):
        cfg = AnimationConfig(noise_offset=offset, known=0.0)
        x = seen(monkeypatch, stage1, cfg)["x"][..., :4]
        means.append(np.asarray(x).std((2, 3)).mean())
        last = np.asarray(x)
    np.testing.assert_allclose(means[1], means[0], rtol=0.05)  # spread within frames is as it was
    assert np.abs(last.mean((2, 3))).max() > 1


def test_gradients_reach_every_trained_network(stage1):
    graph, state = nnx.split(stage1)

    def loss(state):
        return animation.loss(
            nnx.merge(graph, state), batch(2), KEY, AnimationConfig(drop=0.0), diffusion.schedule()
        )[0]

    gradients = jax.jit(jax.grad(loss))(state)
    for network in ("unet", "appearance", "landmark_encoder", "image_prompt"):
        for path, leaf in nnx.to_flat_state(gradients[network]):
            assert jnp.abs(leaf.get_value()).max() > 0, (network, path)
