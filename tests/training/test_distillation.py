"""Students: what they learn is where paths end, and what becomes of them is a checkpoint."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from flax import nnx

from emoji_jax import checkpoint, diffusion
from emoji_jax.animator import Animator
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.models.emoji import Emoji
from emoji_jax.models.init import Draws
from emoji_jax.sampling import SamplerConfig
from emoji_jax.training import animation, distillation, export
from emoji_jax.training.animation import AnimationConfig
from emoji_jax.training.distillation import DistillationConfig, Grid
from emoji_jax.training.run import Run
from tests.models.test_models import shaken
from tests.training import small
from tests.training.test_animation import KEY, batch, networks

SCHEDULE = diffusion.schedule()
STAGE = AnimationConfig(drop=0.0)
SPREAD = 0.7  # of data that are normal, of which all is known
LOSS = functools.partial(
    distillation.loss,
    cfg=DistillationConfig(intervals=40, guidance_scale=1.5, target="student"),
    stage=AnimationConfig(),
    schedule=SCHEDULE,
)


def noise_at(grid: Grid, point):
    """Those of points, as columns."""
    return (jnp.asarray(table)[point][:, None] for table in (grid.alpha, grid.sigma))


def ends(grid: Grid, x, point):
    """Where paths of normal data end: x keeps its place in units of its standard deviation."""
    alpha, sigma = noise_at(grid, point)
    return x * SPREAD / jnp.hypot(alpha * SPREAD, sigma)


def normal_velocity(grid: Grid, x, point):
    """The best prediction for normal data, which is the velocity of their paths."""
    alpha, sigma = noise_at(grid, point)
    return alpha * sigma * x * (1 - SPREAD**2) / ((alpha * SPREAD) ** 2 + sigma**2)


def of_models(function, *models: Emoji):
    """A function of models, compiled, with their parameters as arguments."""
    graphs, states = zip(*map(nnx.split, models), strict=True)
    return jax.jit(lambda states: function(*map(nnx.merge, graphs, states)))(states)


@pytest.mark.parametrize("intervals", [4, 40, 1000])
def test_at_clean_latents_a_path_has_ended(intervals):
    """The boundary condition, whatever the networks say."""
    grid = Grid.of(SCHEDULE, intervals)
    x, v = jax.random.normal(KEY, (2, 3, 5))
    np.testing.assert_array_equal(grid.end(x, v, jnp.full(3, intervals)), x)


def test_the_teachers_steps_stay_on_paths():
    """The nearer the shorter they are; the last, which ends at clean latents, included."""
    errors = []
    for intervals in (20, 100, 500):
        grid = Grid.of(SCHEDULE, intervals)
        point = jnp.arange(intervals)
        x = jax.random.normal(KEY, (intervals, 3))
        after = grid.step(x, normal_velocity(grid, x, point), point)
        errors.append(np.abs(ends(grid, after, point + 1) - ends(grid, x, point)).max())
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.01


@pytest.fixture(scope="module")
def student() -> Emoji:
    return networks(motion=True)


@pytest.fixture(scope="module")
def teacher() -> Emoji:
    return shaken(Emoji(small.NETWORKS, rngs=Draws(1)))


def test_who_tells_where_paths_end_has_learnt_it(monkeypatch, student, teacher):
    """With normal data's teacher, the loss of the true consistency function is next to nothing."""
    grid = Grid.of(SCHEDULE, 40)

    def velocity(knows: bool, model, conditions, shown, x, t, scale=1.0):
        flat, point = x.reshape(len(x), -1), jnp.searchsorted(-jnp.asarray(grid.t[:-1]), -t)
        if scale != 1:
            return normal_velocity(grid, flat, point).reshape(x.shape)
        alpha, sigma = noise_at(grid, point)
        told = ends(grid, flat, point) if knows else alpha * flat
        return ((alpha * flat - told) / jnp.maximum(sigma, 1e-9)).reshape(x.shape)

    found = []
    for knows in (True, False):
        monkeypatch.setattr(distillation, "_velocity", functools.partial(velocity, knows))
        loss = lambda s, t: LOSS(s, batch(4), KEY, teacher=t)[0]  # noqa: E731
        found.append(float(of_models(loss, student, teacher)))
    assert found[0] < 0.1 * found[1]


def test_the_teacher_is_guided(teacher):
    """By the scale, from what it says without a portrait to what it says with one."""
    t = jnp.array([999, 300])

    def both_ways(teacher: Emoji):
        shown, blind = (
            animation.samples(
                [teacher],
                batch(4),
                iter(jax.random.split(KEY, 3)),
                dataclasses.replace(STAGE, drop=drop),
            )
            for drop in (0.0, 1.0)
        )
        inputs = jnp.concatenate([shown.x0, shown.mask_channels], -1)
        said = [teacher.unet(inputs, t, some.conditions[0]) for some in (blind, shown)]
        return distillation._velocity(teacher, shown.conditions[0], shown, shown.x0, t, 2.5), said

    found, (without, with_portrait) = of_models(both_ways, teacher)
    np.testing.assert_allclose(found, diffusion.guide(without, with_portrait, 2.5), atol=2e-4)
    assert np.abs(without - with_portrait).max() > 1e-2


def test_a_target_is_none_to_learn_from(monkeypatch, student, teacher):
    """Gradients are the same whether the target is the student or another one like it."""

    def velocity(model, conditions, shown, x, t, scale=1.0):
        return jnp.sum(model.unet.conv_out.bias[...]) * x

    def gradient(student: Emoji, teacher: Emoji, other: Emoji | None):
        graph, state = nnx.split(student)

        def loss(state):
            merged = nnx.merge(graph, state)
            return LOSS(merged, batch(4), KEY, teacher=teacher, average=other)[0]

        return checkpoint.flatten(jax.grad(loss)(state))["unet.conv_out.bias"]

    monkeypatch.setattr(distillation, "_velocity", velocity)
    alone, beside = (
        of_models(lambda s, o, t, used=used: gradient(s, t, o if used else None), *models)
        for used in (False, True)
        for models in [(student, student, teacher)]
    )
    assert np.abs(alone).max() > 1e-3
    np.testing.assert_allclose(alone, beside, rtol=1e-4)


def test_frames_on_their_own_are_distilled_too():
    alone = networks(motion=False)
    loss = lambda s, t: LOSS(s, batch(4), KEY, teacher=t)  # noqa: E731
    value, metrics = of_models(loss, alone, alone)
    assert np.isfinite(value) and metrics["examples"].shape == (2,)


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Path:
    """A teacher with random weights, of which none are zero."""
    path = tmp_path_factory.mktemp("weights") / "teacher"
    random = shaken(Emoji(small.NETWORKS, rngs=Draws(0)))
    export.write(path, small.NETWORKS, checkpoint.flatten(nnx.state(random, nnx.Param)))
    return path


def config(taught: Path, steps: int = 4):
    config = small.get_config("distill")
    config.start, config.train.steps = (str(taught),), steps
    config.distillation.intervals, config.checkpoint.every = 20, 100
    return config


def losses(workdir: Path) -> dict[int, float]:
    told = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in told}


def test_a_student_learns_and_becomes_a_checkpoint(taught, tmp_path):
    """Which knows how to be sampled from."""
    Run(config(taught, 12), tmp_path / "run").train()
    found = losses(tmp_path / "run")
    early, late = (np.mean([found[n] for n in some]) for some in ((1, 2), (9, 10, 11, 12)))
    assert late < 0.8 * early
    folder = checkpoint.find(tmp_path / "run")
    assert not (folder / "teacher").exists() and not (folder / "average").exists()
    cfg = checkpoint.read_config(folder)
    assert (cfg.distilled, cfg.sampler, cfg.steps, cfg.guidance_scale) == (True, "lcm", 4, 1.0)
    _is_sampled_from(folder, taught)
    with pytest.raises(UserError, match="is distilled already"):
        Run(config(folder), tmp_path / "again")


@pytest.mark.heavy
def test_going_on_is_as_if_never_stopped_and_the_teacher_stays(taught, tmp_path):
    Run(config(taught, 6), tmp_path / "whole").train()
    begun = Run(config(taught, 3), tmp_path / "parts").state()
    teacher = {name: np.asarray(begun.frozen[f"teacher.{name}"]) for name in begun.trained}
    for name, x in begun.trained.items():
        np.testing.assert_array_equal(teacher[name], np.asarray(x))
    for steps in (3, 6):
        Run(config(taught, steps), tmp_path / "parts").train()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    after = Run(config(taught, 6), tmp_path / "parts").state()
    for name, x in teacher.items():
        np.testing.assert_array_equal(after.frozen[f"teacher.{name}"], x)
        assert not np.array_equal(after.trained[name], x), name


def _is_sampled_from(folder: Path, taught: Path) -> None:
    (portrait,) = synthetic.render(
        synthetic.portrait(5, 0, "shaded"), synthetic.Expression(), (32, 32)
    )
    face = synthetic.landmarks(synthetic.Expression(), (32, 32))

    def frames(folder: Path, **options) -> list[np.ndarray]:
        animator, motion = Animator.load(folder), synthetic.motion("laugh", 5)
        sampler = SamplerConfig(**options)
        return list(animator(portrait, motion, ref_landmarks=face, sampler=sampler))

    assert len(frames(folder)) == 5
    np.testing.assert_array_equal(frames(folder), frames(folder, name="lcm", guidance_scale=1.0))
    with pytest.raises(UserError, match="has its guidance built in; expected 1"):
        frames(folder, guidance_scale=2.0)
    with pytest.raises(UserError, match=r"'dpmpp_2m', but this checkpoint is distilled; .* lcm"):
        frames(folder, name="dpmpp_2m")
    with pytest.raises(UserError, match="'lcm', which is for distilled checkpoints"):
        frames(taught, name="lcm")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("start", (), "distillation needs a teacher"),
        ("train.trainable", ("unet.*", "appearance.*"), "has appearance.*; distillation changes"),
        ("optimiser.average", 0.0, "optimiser.average is 0 and none is kept"),
        ("distillation.target", "teacher", "expected one of 'average', 'student'"),
        ("distillation.intervals", 30, "is 30; .* a multiple of distillation.steps, 4"),
        ("distillation.huber", -1.0, "huber is -1.0; expected at least 0"),
        ("distillation.guidance_scale", float("nan"), "guidance_scale is nan; expected a number"),
    ],
)
def test_mistakes_are_told_before_anything_runs(taught, tmp_path, option, value, message):
    some = config(taught)
    some.update_from_flattened_dict({option: value})
    with pytest.raises(UserError, match=message):
        Run(some, tmp_path / "run")
