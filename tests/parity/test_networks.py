"""Every network against numbers recorded from the released PyTorch code, at tiny width."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open

from emoji_jax import published
from emoji_jax.models.init import Draws
from emoji_jax.models.layers import (
    Compute,
    Downsample,
    GroupNorm,
    ResnetBlock,
    Upsample,
    timestep_embedding,
)
from emoji_jax.models.motion import MotionModule
from emoji_jax.models.transformer import SpatialTransformer
from emoji_jax.models.unet import Conditions
from tests.parity.reference import (
    assert_close,
    image,
    numbers,
    recipe,
    settings,
    tiny,
    tiny_clip,
    torch_shape,
    unused_position_table,
    video,
)

TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def model(golden):
    return tiny(golden)


def maps(record: dict, prefix: str = "") -> list[jax.Array]:
    """The appearance net's recorded tokens in order of execution."""
    order = [f"{side}_{i}" for side in ("down", "up") for i in range(99)]
    order.insert(99, "mid")
    return [jnp.asarray(record[prefix + name]) for name in order if prefix + name in record]


def test_recipe_gives_the_recorded_weights(golden):
    weights = numbers(golden, "tiny/unet_weights")
    for key, value in weights.items():
        if key.endswith("pos_encoder.pe"):
            assert unused_position_table(value) < 1e-5
        else:
            made = recipe("unet", key, value.shape, settings(golden)["seed"])
            np.testing.assert_array_equal(made, value)


def test_landmark_encoder(golden, model):
    record = numbers(golden, "tiny/lmk_guider_io")
    assert_close(model.landmark_encoder(video(record["cond"])), video(record["out"]), TOLERANCE)


@jax.jit
def run_appearance(model, latents, context, t):
    return model.appearance(latents, model.image_prompt.appearance(context), t)


def test_appearance_net(golden, model):
    record = numbers(golden, "tiny/referencenet_io")
    prefixes = {name.split("/")[0] for name in record if "/" in name}
    assert {"b1", "cfg", "b2"} <= prefixes
    for prefix in sorted(prefixes):
        context = record.get(f"{prefix}/encoder_hidden_states", record["b1/encoder_hidden_states"])
        latents = record.get(f"{prefix}/latents", record["b1/latents"])
        t = int(prefix[1:]) if prefix[0] == "t" else 0
        ours = run_appearance(model, image(latents), context, jnp.full(len(latents), t))
        theirs = maps(record, f"{prefix}/")
        assert len(ours) == len(theirs)
        for x, y in zip(ours, theirs, strict=True):
            assert_close(x, y, TOLERANCE)


def unet_inputs(golden, name: str) -> tuple[dict, dict[str, str], list[jax.Array] | None]:
    """A recorded UNet call, its settings, and the reference tokens it was given."""
    record = numbers(golden, f"tiny/{name}")
    with safe_open(golden / "tiny" / f"{name}.safetensors", "numpy") as file:
        told = file.metadata()
    if told["refs"] == "none":
        return record, told, None
    prefixes = {"unet_odd": "odd/", "unet_train_b2": "b2/"}
    prefix = prefixes.get(name, "cfg/" if told["do_cfg"] == "True" else "b1/")
    references = maps(numbers(golden, "tiny/referencenet_io"), prefix)
    # The unconditional half, which comes first, sees no portrait.
    return record, told, [x[-1:] if told["do_cfg"] == "True" else x for x in references]


@jax.jit
def run_unet(model, x, t, context, references, motion):
    references = model.unet.project_references(references) if references else None
    conditions = Conditions(model.image_prompt.unet(context), references, motion)
    return model.unet(x, t, conditions)


def call_unet(model, record: dict, references: list[jax.Array] | None) -> jax.Array:
    motion = record.get("lmk_cond_fea")
    t = jnp.broadcast_to(jnp.asarray(record["timestep"]), len(record["sample"]))
    return run_unet(
        model,
        video(record["sample"]),
        t,
        jnp.asarray(record["encoder_hidden_states"]),
        references,
        None if motion is None else video(motion),
    )


UNET_CALLS = [
    "unet_f{0}_nocfg",
    "unet_f{0}_cfg",
    "unet_f{1}_nocfg",
    "unet_f{1}_cfg",
    "unet_f1_cfg",
    "unet_noref_nolmk",
    "unet_noref_lmk",
    "unet_train_b2",
    "unet_odd",
]


@pytest.mark.parametrize("name", UNET_CALLS)
def test_unet(golden, model, name):
    name = name.format(*settings(golden)["frames"])
    record, _, references = unet_inputs(golden, name)
    assert_close(call_unet(model, record, references), video(record["out"]), TOLERANCE)


def test_unet_with_every_dropped_sample_is_the_unet_without_portrait(golden, model):
    """Dropping by replacing the portrait's tokens, as training does it, is exact."""
    record, _, references = unet_inputs(golden, "unet_train_b2")
    tokens = model.image_prompt.unet(jnp.asarray(record["encoder_hidden_states"]))
    x, t = video(record["sample"]), jnp.asarray(record["timestep"])

    @jax.jit
    def run(model, references, drop):
        projected = model.unet.project_references(references) if references else None
        return model.unet(x, t, Conditions(tokens, projected, drop=drop))

    with_portrait = run(model, references, None)
    without = run(model, None, None)
    mixed = run(model, references, jnp.array([True, False]))
    assert_close(mixed[0], without[0], TOLERANCE)
    assert_close(mixed[1], with_portrait[1], TOLERANCE)
    assert float(jnp.abs(with_portrait[0] - without[0]).max()) > 100 * TOLERANCE


@contextlib.contextmanager
def recorded_outputs(monkeypatch, network: nnx.Module):
    """Outputs of all parts of a network by their path, as they are called."""
    paths = {id(part): ".".join(map(str, path)) for path, part in nnx.iter_modules(network)}
    outputs = {}
    for kind in (ResnetBlock, SpatialTransformer, MotionModule, Downsample, Upsample, GroupNorm):

        def call(self, *args, original=kind.__call__):
            out = original(self, *args)
            outputs[paths[id(self)]] = out[0] if isinstance(out, tuple) else out
            return out

        monkeypatch.setattr(kind, "__call__", call)
    yield outputs
    monkeypatch.undo()


def test_unet_inside(golden, model, monkeypatch):
    """Where a difference would begin: every block and every part of it."""
    small = settings(golden)["frames"][0]
    inside = numbers(golden, f"tiny/unet_f{small}_cfg_acts")
    record, _, references = unet_inputs(golden, f"unet_f{small}_cfg")
    tokens = model.image_prompt.unet(jnp.asarray(record["encoder_hidden_states"]))
    references = model.unet.project_references(references)
    x = model.unet.conv_in(video(record["sample"]))
    motion = video(record["lmk_cond_fea"])
    t = jnp.broadcast_to(jnp.asarray(record["timestep"]), len(x))
    with recorded_outputs(monkeypatch, model.unet) as ours:
        model.unet(video(record["sample"]), t, Conditions(tokens, references, motion))
    checked = {
        "clip_fc": tokens,
        "conv_in": x,
        "conv_in_plus_lmk": x + motion,
        "time_proj": timestep_embedding(t, model.cfg.unet.channels[0]),
        "time_embedding": model.unet.embed_time(t),
    }
    for name, theirs in inside.items():
        if name in checked:
            mine = checked[name]
        elif name == "conv_out":
            mine = call_unet(model, record, unet_inputs(golden, f"unet_f{small}_cfg")[2])
        else:
            # A block's output is that of its last part.
            mine = [value for path, value in ours.items() if f"{path}.".startswith(f"{name}.")][-1]
        assert_close(mine, video(theirs) if theirs.ndim == 5 else theirs, TOLERANCE)
    assert len(inside) >= 10


def test_motion_module(golden):
    record = numbers(golden, "tiny/motion_module_io")
    s = settings(golden)
    graph, state = nnx.split(
        nnx.eval_shape(lambda: MotionModule(s["mm_c"], 8, Compute(), rngs=Draws(None)))
    )
    for path, leaf in nnx.to_flat_state(state):
        key = "motion_modules.0." + ".".join(map(str, path))
        name = published.published_name(key, published.NAMES["unet"]).split(".", 2)[2]
        source = recipe("motion_module", name, torch_shape(key, leaf.shape), s["seed"])
        leaf.set_value(jnp.asarray(published.to_jax(source, key, len(leaf.shape))))
    module = nnx.merge(graph, state)
    for i in range(len(s["mm"])):
        assert_close(module(video(record[f"in_{i}"])), video(record[f"out_{i}"]), TOLERANCE)


def part(network: nnx.Module, path: str) -> nnx.Module:
    for name in path.split("."):
        network = network[int(name)] if name.isdigit() else getattr(network, name)
    return network


def scaled_proj_in(module: nnx.Module) -> nnx.Module:
    module = nnx.clone(module)
    nnx.update(module.proj_in, jax.tree.map(lambda x: x * 1e-3, nnx.state(module.proj_in)))
    return module


def test_probes(golden, model):
    """Single parts on faint inputs, where a wrong epsilon or padding shows at once."""
    record = numbers(golden, "tiny/probes")
    networks = {"unet": model.unet, "referencenet": model.appearance, "vae": model.vae}
    groups = {}
    for name, value in record.items():
        probe, leaf = name.rsplit("/", 1)
        groups.setdefault(probe, {})[leaf] = value
    time = groups.pop("unet.time")
    assert_close(model.unet.embed_time(jnp.asarray(time["t"])), time["out"], TOLERANCE)
    sinusoid = timestep_embedding(jnp.asarray(time["t"]), time["sinusoid"].shape[1])
    assert_close(sinusoid, time["sinusoid"], TOLERANCE)
    norm = groups.pop("clip.vision_model.encoder.layers.0.layer_norm1")
    ours = tiny_clip(golden).layers[0].layer_norm1(jnp.asarray(norm["x"]))
    assert_close(ours, norm["out"], TOLERANCE)
    for probe, given in groups.items():
        path, _, tag = probe.partition("[")
        network, _, path = path.partition(".")
        module = part(networks[network], path)
        if tag == "proj_in*1e-3]":
            module = scaled_proj_in(module)
        still = given["x"].ndim == 4
        x = image(given["x"]) if still else video(given["x"])
        if "ctx" in given:
            check_transformer_probe(module, x[:, None] if still else x, given, tag)
            continue
        extra = [jnp.asarray(given["temb"])] if "temb" in given else []
        theirs = image(given["out"]) if still else video(given["out"])
        assert_close(module(x, *extra), theirs, TOLERANCE)


def check_transformer_probe(module, x, given: dict, tag: str) -> None:
    reference = None
    if "ref" in given:
        tokens = jnp.asarray(given["ref"])
        guided = tag == "cfg=True]"
        reference = module.project_reference(tokens[len(tokens) // 2 :] if guided else tokens)
    out, seen = module(x, jnp.asarray(given["ctx"]), reference)
    theirs = image(given["out"])[:, None] if given["out"].ndim == 4 else video(given["out"])
    assert_close(out, theirs, TOLERANCE)
    if "refmap" in given:
        assert_close(seen[:, 0], given["refmap"], TOLERANCE)


def test_vae(golden, model):
    record = numbers(golden, "tiny/vae_io")
    pictures = image(record["image"])
    mean, logvar = jax.jit(lambda vae, x: vae.moments(x))(model.vae, pictures)
    assert_close(mean, image(record["mean"]), TOLERANCE)
    assert_close(logvar, image(record["logvar"]), TOLERANCE)
    assert_close(model.vae.encode(pictures), image(record["scaled_mean"]), TOLERANCE)
    latents = image(record["z"]) * model.vae.scaling
    assert_close(model.vae.decode(latents), image(record["decoded"]), TOLERANCE)


def test_vae_sample_has_the_moments(golden, model):
    pictures = image(numbers(golden, "tiny/vae_io")["image"])[:1]
    mean, logvar = model.vae.moments(pictures)
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(
        jax.vmap(lambda k: mean + jnp.exp(0.5 * logvar) * jax.random.normal(k, mean.shape))
    )
    one = model.vae.encode(pictures, keys[0]) / model.vae.scaling
    assert_close(one, draw(keys[:1])[0], TOLERANCE)
    spread = draw(keys).std(0) / jnp.exp(0.5 * logvar)
    assert 0.85 < float(spread.min()) < float(spread.max()) < 1.15


def test_clip(golden):
    record, clip = numbers(golden, "tiny/clip_io"), tiny_clip(golden)
    tokens = clip(image(record["pixel_values"]))
    assert_close(tokens, record["last_hidden_state"], TOLERANCE)
    assert_close(clip.post_layernorm(tokens[:, 0]), record["pooler_output"], TOLERANCE)
    assert_close(clip.embed(tokens), record["image_embeds"], TOLERANCE)
