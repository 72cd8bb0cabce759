"""The networks at Stable Diffusion's size, one at a time: gigabytes and minutes."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.unet import Conditions
from tests.parity.reference import assert_close, fill, image, numbers, video

pytestmark = pytest.mark.heavy
SEED = 7
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def release_memory():
    yield
    jax.clear_caches()
    gc.collect()


def network(name: str) -> nnx.Module:
    graph, state = nnx.split(getattr(nnx.merge(*abstract(EmojiConfig.release())), name))
    fill(state, name, SEED)
    return nnx.merge(graph, state)


def projection(name: str) -> nnx.Module:
    """`clip_fc` of a network."""
    prompt = nnx.merge(*abstract(EmojiConfig.release())).image_prompt
    graph, state = nnx.split(getattr(prompt, name))
    fill(nnx.State({"image_prompt": {name: state}}), name, SEED)
    return nnx.merge(graph, state)


def maps(record: dict) -> list[jax.Array]:
    order = [f"down_{i}" for i in range(6)] + ["mid"] + [f"up_{i}" for i in range(9)]
    return [jnp.asarray(record[name]) for name in order]


def test_landmark_encoder(golden):
    record = numbers(golden, "full/lmk_guider")
    ours = jax.jit(lambda net, x: net(x))(network("landmark_encoder"), video(record["cond"]))
    assert_close(ours, video(record["out"]), TOLERANCE)


def test_vae(golden):
    record, vae = numbers(golden, "full/vae"), network("vae")
    mean, logvar = jax.jit(lambda net, x: net.moments(x))(vae, image(record["image"]))
    moments = jnp.concatenate([mean, logvar], -1)
    decoded = jax.jit(lambda net, z: net.decode(z))(vae, image(record["z"]) * vae.scaling)
    assert_close(mean, image(record["mean"]), TOLERANCE)
    assert_close(moments, image(record["moments"]), TOLERANCE)
    assert_close(decoded, image(record["decoded"]), TOLERANCE)


def test_clip(golden):
    record, clip = numbers(golden, "full/clip"), network("clip")
    tokens = jax.jit(lambda net, x: net(x))(clip, image(record["pixel_values"]))
    # Its values reach 5 where the other networks' are about 1.
    assert_close(tokens, record["last_hidden_state"], 2e-4)
    assert_close(clip.embed(tokens), record["image_embeds"], 2e-4)


def test_appearance_net(golden):
    record = numbers(golden, "full/referencenet")
    tokens = projection("appearance")(jnp.asarray(record["encoder_hidden_states"]))
    run = jax.jit(lambda net, x, tokens: net(x, tokens))
    ours = run(network("appearance"), image(record["latents"]), tokens)
    for x, y in zip(ours, maps(record), strict=True):
        assert_close(x, y, TOLERANCE)


def test_unet(golden):
    record, references = numbers(golden, "full/unet"), maps(numbers(golden, "full/referencenet"))
    unet, project = network("unet"), projection("unet")
    context = jnp.asarray(record["encoder_hidden_states"])
    x, motion = video(record["sample"]), video(record["lmk_cond_fea"])
    t = jnp.asarray(record["timestep"])

    @jax.jit
    def run(unet, x, t, tokens, references, motion):
        projected = unet.project_references(references) if references else None
        return unet(x, jnp.broadcast_to(t, len(x)), Conditions(tokens, projected, motion))

    tokens = project(context)
    alone = run(unet, x, t, tokens, references, motion)
    bare = run(unet, x, t, tokens, None, None)
    twice = jnp.concatenate([x, x])
    both = project(jnp.concatenate([jnp.zeros_like(context), context]))
    guided = run(unet, twice, t, both, references, jnp.concatenate([motion, motion]))
    assert_close(alone, video(record["out_nocfg"]), TOLERANCE)
    assert_close(bare, video(record["out_noref_nolmk"]), TOLERANCE)
    assert_close(guided, video(record["out_cfg"]), TOLERANCE)
    assert float(np.abs(np.asarray(alone - bare)).max()) > 0.1
