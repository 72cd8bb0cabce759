"""Videos longer than a window: every frame once, in any batch, and on from where it stopped."""

import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from benchmarks.step_time import collectives
from emoji_jax import sampling
from emoji_jax.errors import UserError
from emoji_jax.images import clip_pixels
from emoji_jax.models.emoji import abstract, initialise
from emoji_jax.models.layers import Compute
from emoji_jax.programs import Programs, together
from emoji_jax.sampling import SamplerConfig, Work
from emoji_jax.sampling.progressive import levels
from tests.training.small import NETWORKS

ROOT = Path(__file__).parent.parent
COUNT = 17
SAMPLER = SamplerConfig(name="dpmpp_2m", steps=3, guidance_scale=2.0, frames=5)


@pytest.mark.parametrize("length", [3, 5, 8, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 17, 50, 97, 1000])
def test_levels_make_every_frame_once_between_known_ones(count, length):
    made, known_before = np.zeros(count, int), set()
    for number, level in enumerate(levels(count, length)):
        new = set()
        for stretch in level:
            assert len(stretch.frames) == min(length, count)
            assert (np.diff(stretch.frames) >= 0).all()
            assert known_before.issuperset(stretch.frames[stretch.known])
            unknown = stretch.frames[~stretch.known]
            assert len(unknown) and len(np.unique(unknown)) == len(unknown)
            if number:
                assert stretch.known[[0, -1]].all()
            made[unknown] += 1
            new |= {*unknown.tolist()}
        known_before |= new
    assert (made == 1).all()


@pytest.mark.parametrize(("count", "at_most"), [(97, 1.5), (640, 1.5), (6400, 1.51)])
def test_levels_waste_little(count, at_most):
    """Frames computed per frame made, for windows of eight; two of eight are always known."""
    stretches = sum(map(len, levels(count, 8)))
    assert 8 / 6 * 0.95 < 8 * stretches / count <= at_most


def test_first_level_spreads_over_the_whole_video():
    first = levels(101, 5)[0]
    assert [s.frames.tolist() for s in first] == [[0, 25, 50, 75, 100]]


def make_programs(dtype: DTypeLike = jnp.float32, mesh: Mesh | None = None) -> Programs:
    cfg = NETWORKS
    graph, _ = abstract(cfg, Compute(dtype))
    # Zero-initialised last layers would let nothing through.
    noise = np.random.default_rng(0)
    parameters = initialise(cfg, seed=0)
    leaves = {
        path: leaf.replace(leaf[...] + 0.02 * noise.normal(size=leaf.shape).astype(np.float32))
        for path, leaf in nnx.to_flat_state(parameters)
    }
    return Programs(cfg, graph, nnx.from_flat_state(leaves), mesh)


@pytest.fixture(scope="module")
def programs() -> Programs:
    return make_programs()


@pytest.fixture(scope="module")
def conditions(programs):
    side, clip = programs.cfg.size[0], programs.cfg.clip.image_size
    portrait = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return programs.encode(portrait.astype(np.float32) / 127.5 - 1, clip_pixels(portrait, clip))


@pytest.fixture(scope="module")
def pictures(programs) -> np.ndarray:
    shape = (COUNT, *programs.cfg.size, 3)
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


@pytest.fixture
def denoise(programs, conditions, pictures):
    def denoise(count=COUNT, programs=programs, work=None, progress=None, **options):
        config = dataclasses.replace(SAMPLER, **options)
        told = progress or (lambda what, done, total: None)
        some = pictures[:count]
        found = sampling.denoise(
            programs, conditions, [some], config, seed=3, work=work, progress=told
        )
        return np.array(found[0])

    return denoise


def test_known_frames_stay_and_matter(programs, conditions, pictures):
    """What a stretch is given decides what it makes: with another neighbour, another frame."""
    noise = np.random.default_rng(3).normal(size=(1, 5, *_latent(programs))).astype(np.float32)
    known = np.zeros((1, 5, 1, 1, 1), np.float32)
    known[:, [0, 4]] = 1
    steps = sampling.diffusion.dpmpp_2m(programs.schedule, 3)
    made = [
        programs.denoise(
            conditions,
            pictures[None, :5],
            noise,
            steps,
            1.0,
            (known * value * np.ones_like(noise), known + np.zeros_like(noise[..., :1])),
        )
        for value in (-1.0, -1.0, 1.0)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2])[:, 1:4].max() > 1e-3


def _latent(programs: Programs) -> tuple[int, int, int]:
    factor = programs.cfg.vae.factor
    return (*(s // factor for s in programs.cfg.size), programs.cfg.vae.latent_channels)


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
def test_any_batch_gives_the_same(denoise, long_video):
    one = denoise(long_video=long_video)
    assert one.shape[0] == COUNT and np.isfinite(one).all() and one.std() > 0.1
    np.testing.assert_allclose(denoise(long_video=long_video, batch=3), one, atol=2e-4)


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
def test_distilled_networks_make_long_videos(denoise, programs, long_video):
    distilled = copy.copy(programs)  # the same programs
    distilled.cfg = dataclasses.replace(programs.cfg, distilled=True, sampler="lcm", steps=2)
    options = {"programs": distilled, "name": "", "steps": 0, "long_video": long_video}
    with pytest.raises(UserError, match="has its guidance built in; expected 1"):
        denoise(**options)
    made = denoise(**options, guidance_scale=1.0)
    assert np.isfinite(made).all() and made.std() > 0.1
    again = denoise(**options, guidance_scale=1.0, batch=3)
    np.testing.assert_allclose(again, made, atol=2e-4)


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
@pytest.mark.parametrize("count", [4, COUNT])
def test_several_portraits_in_one_batch_are_each_as_alone(
    programs, conditions, pictures, long_video, count
):
    other = jax.tree.map(lambda x: -x, conditions)
    both = together([conditions, other])
    each = [pictures[:count], pictures[::-1][:count]]
    config = dataclasses.replace(SAMPLER, long_video=long_video, batch=3)
    made = sampling.denoise(programs, both, each, config, seed=3)
    assert made.shape[:2] == (2, count)
    for i, alone in enumerate((conditions, other)):
        expected = sampling.denoise(programs, alone, [each[i]], config, seed=3)[0]
        np.testing.assert_allclose(made[i], expected, atol=2e-4)
    assert np.abs(made[0] - made[1]).max() > 0.1


def test_progressive_is_the_default_where_networks_take_known_frames(denoise):
    np.testing.assert_array_equal(denoise(), denoise(long_video="progressive"))
    assert np.abs(denoise() - denoise(long_video="overlap")).max() > 1e-3
    np.testing.assert_array_equal(denoise(5), denoise(5, long_video="overlap"))  # one window


class Killed(Exception):
    pass


@pytest.mark.parametrize("long_video", ["progressive", "overlap"])
@pytest.mark.parametrize("stop", [1, 2])
def test_interrupted_and_resumed_is_as_if_never(denoise, tmp_path, long_video, stop):
    whole = denoise(long_video=long_video)

    def interrupt(what, done, total):
        if done == stop:
            raise Killed

    with pytest.raises(Killed):
        denoise(long_video=long_video, work=Work(tmp_path / "work", "a"), progress=interrupt)
    again, seen = Work(tmp_path / "work", "a", resume=True), []
    assert again.done >= stop
    resumed = denoise(long_video=long_video, work=again, progress=lambda *told: seen.append(told))
    np.testing.assert_array_equal(resumed, whole)
    assert seen[0][1] == stop + 1  # what was done is not done again


def test_resumed_by_batches_of_another_size(denoise, tmp_path):
    """As on a machine with more devices: no frame is left out."""
    whole = denoise(long_video="progressive")
    for first, then in ((1, 3), (3, 1)):

        def interrupt(what, done, total):
            if done >= 2:
                raise Killed

        folder = tmp_path / f"{first}"
        with pytest.raises(Killed):
            denoise(batch=first, work=Work(folder, "a"), progress=interrupt)
        resumed = denoise(batch=then, work=Work(folder, "a", resume=True))
        np.testing.assert_allclose(resumed, whole, atol=1e-4)


def test_torn_writes_do_no_harm(denoise, tmp_path):
    """What was written after the last commit is written again."""
    whole = denoise(long_video="progressive")

    def interrupt(what, done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        denoise(work=Work(tmp_path / "w", "a"), progress=interrupt)
    latents = np.memmap(tmp_path / "w" / "latents.f32", np.float32, "r+", shape=whole.shape)
    missing = ~np.isclose(np.array(latents), whole).all((1, 2, 3))
    assert missing.any() and not missing.all()
    latents[missing] = np.nan
    latents.flush()
    np.testing.assert_array_equal(denoise(work=Work(tmp_path / "w", "a", resume=True)), whole)


def test_work_of_something_else_is_not_gone_on_with(tmp_path):
    Work(tmp_path / "w", "a").commit(1)
    with pytest.raises(UserError, match="other settings"):
        Work(tmp_path / "w", "b", resume=True)
    assert Work(tmp_path / "w", "a", resume=True).done == 1
    assert Work(tmp_path / "w", "b").done == 0


@pytest.mark.parametrize(
    ("dtype", "networks", "autoencoder"),
    [
        ("float32", "HIGHEST", "HIGHEST"),
        (jnp.float32, "HIGHEST", "HIGHEST"),
        ("bfloat16", "DEFAULT", "HIGH"),
    ],
)
def test_products_have_the_digits_of_their_numbers(dtype, networks, autoencoder):
    """On accelerators, where fp32 numbers are shortened unless told otherwise."""
    programs, cfg = make_programs(dtype), NETWORKS
    side, clip = cfg.size[0], cfg.clip.image_size

    def found(program, *args, **static):
        told = str(program.trace(programs.parameters, *args, **static).jaxpr)
        return set(re.findall(r"Precision\.(\w+)", told))

    latents = np.zeros((2, 8, 8, cfg.vae.latent_channels), np.float32)
    assert found(programs._decode, latents, rounding="nearest") == {autoencoder}
    conditions = programs.encode(
        np.zeros((side, side, 3), np.float32), np.zeros((clip, clip, 3), np.float32)
    )
    pictures = np.zeros((1, 4, side, side, 3), np.uint8)
    assert found(programs._features, conditions, pictures, guided=True) == {networks}


def test_eight_devices_share_the_windows(tmp_path):
    """Eight make what one makes: a process of its own with as many, of one processor each.

    So do two with a single window at a time, which has two rows where there is guidance.
    """
    script = (
        "import sys, numpy as np, jax\n"
        "from tests import test_long_video as t\n"
        "made = t.on_all_devices(int(sys.argv[2]))\n"
        "np.save(sys.argv[1], made)\n"
    )
    found = []
    for count, batch in ((1, 0), (8, 0), (2, 1)):
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "PYTHONPATH": str(ROOT),
        }
        path = tmp_path / f"{count}.npy"
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), str(batch)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == count
        found.append(np.load(path))
    for made in found[1:]:
        np.testing.assert_allclose(made, found[0], atol=2e-4)


def on_all_devices(batch: int) -> np.ndarray:
    """Latents of a long video, made by all devices that there are, none waiting for another."""
    from emoji_jax.animator import all_devices

    cfg, programs = NETWORKS, make_programs(mesh=all_devices())
    clips = programs._clips

    def looked_at(*args, **static):
        text = clips.lower(*args, **static).compile().as_text()
        assert not list(collectives(text, programs.devices))
        return clips(*args, **static)

    programs._clips = looked_at
    print(programs.devices)
    assert programs.devices == jax.local_device_count()
    side, clip = cfg.size[0], cfg.clip.image_size
    portrait = np.full((side, side, 3), 90, np.uint8)
    conditions = programs.encode(portrait / np.float32(127.5) - 1, clip_pixels(portrait, clip))
    pictures = np.random.default_rng(2).integers(0, 256, (COUNT, side, side, 3), np.uint8)
    sampler = dataclasses.replace(SAMPLER, batch=batch)
    return np.array(sampling.denoise(programs, conditions, [pictures], sampler, seed=3))
