"""A second reference: diffusers and transformers, where PyTorch is installed."""

import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from emoji_jax import diffusion, published
from emoji_jax.models.emoji import abstract
from emoji_jax.models.image_prompt import CLIPVisionConfig
from emoji_jax.models.unet import Conditions
from emoji_jax.models.vae import VAEConfig
from tests.parity.reference import assert_close, image
from tests.release_folder import CONFIG

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("diffusers")),
    reason="needs PyTorch and diffusers; see CONTRIBUTING.md",
)
TOLERANCE = 5e-5


def ours(network: str, theirs) -> nnx.Module:
    """One of our networks with the weights of a PyTorch module."""
    weights = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    model = nnx.merge(*abstract(CONFIG))
    graph, state = nnx.split(getattr(model, network))
    for path, leaf in nnx.to_flat_state(state):
        key = ".".join(map(str, path))
        if "motion_modules" in key:
            leaf.set_value(jnp.zeros(leaf.shape))  # adds nothing: the network is the still one
        else:
            leaf.set_value(jnp.asarray(published.take(network, key, len(leaf.shape), weights)))
    return nnx.merge(graph, state)


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    return torch


def test_unet(torch):
    from diffusers import UNet2DConditionModel

    cfg = CONFIG.unet
    theirs = UNet2DConditionModel(
        block_out_channels=cfg.channels,
        layers_per_block=cfg.layers,
        cross_attention_dim=cfg.context,
        attention_head_dim=cfg.heads,
        norm_num_groups=cfg.groups,
    ).eval()
    x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 5, cfg.context)
    t = torch.tensor([17, 901])
    expected = theirs(x, t, context).sample.numpy()
    unet = ours("unet", theirs)
    found = unet(
        image(x.numpy())[:, None], jnp.asarray(t.numpy()), Conditions(jnp.asarray(context.numpy()))
    )
    assert_close(found[:, 0], image(expected), TOLERANCE)


def test_vae(torch):
    from diffusers import AutoencoderKL

    cfg: VAEConfig = CONFIG.vae
    count = len(cfg.channels)
    theirs = AutoencoderKL(
        block_out_channels=cfg.channels,
        layers_per_block=cfg.layers,
        norm_num_groups=cfg.groups,
        latent_channels=cfg.latent_channels,
        down_block_types=["DownEncoderBlock2D"] * count,
        up_block_types=["UpDecoderBlock2D"] * count,
    ).eval()
    x, z = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, 4, 4, 4)
    vae = ours("vae", theirs)
    mean, logvar = vae.moments(image(x.numpy()))
    posterior = theirs.encode(x).latent_dist
    assert_close(mean, image(posterior.mean.numpy()), TOLERANCE)
    assert_close(logvar, image(posterior.logvar.numpy()), TOLERANCE)
    decoded = vae.decode(image(z.numpy()) * vae.scaling)
    assert_close(decoded, image(theirs.decode(z).sample.numpy()), TOLERANCE)


def test_clip(torch):
    import transformers

    cfg: CLIPVisionConfig = CONFIG.clip
    sizes = {name: getattr(cfg, name) for name in CLIPVisionConfig.__dataclass_fields__}
    theirs = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**sizes))
    x = torch.randn(2, 3, cfg.image_size, cfg.image_size)
    expected = theirs.eval()(x)
    clip = ours("clip", theirs)
    tokens = clip(image(x.numpy()))
    assert_close(tokens, expected.last_hidden_state.numpy(), TOLERANCE)
    assert_close(clip.embed(tokens), expected.image_embeds.numpy(), TOLERANCE)
    assert np.abs(expected.last_hidden_state.numpy()).max() > 0.1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize("steps", [10, 25])
@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
def test_multistep_solvers(torch, name, steps):
    """Whole runs beside diffusers', with first-order steps at both ends in both."""
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    options = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "final_sigmas_type": "zero",
    }
    theirs = {
        "dpmpp_2m": lambda: DPMSolverMultistepScheduler(**options, euler_at_final=True),
        "unipc": lambda: UniPCMultistepScheduler(**options, solver_type="bh2"),
    }[name]()
    theirs.set_timesteps(steps)
    schedule = diffusion.schedule(zero_terminal_snr=False)
    table = diffusion.SAMPLERS[name](schedule, steps)
    np.testing.assert_array_equal(table.t, theirs.timesteps.numpy())
    start = torch.randn(1, 64, dtype=torch.float64)
    x, before, expected = start.numpy(), (np.zeros((1, 64)),) * 2, start
    for t, row in zip(theirs.timesteps, table.rows().astype(np.float64), strict=True):
        # Any function of x and t will do in place of a network.
        wave = 0.01 * float(t)
        expected = theirs.step(torch.sin(expected + wave), t, expected).prev_sample
        x, before = diffusion.update(tuple(row), x, np.sin(x + wave), before)
    assert_close(jnp.asarray(x), expected.numpy(), TOLERANCE)
