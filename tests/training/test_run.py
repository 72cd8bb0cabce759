"""Whole runs with small networks: stages, resuming, stopping, mistakes."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from emoji_jax import checkpoint
from emoji_jax import config as config_file
from emoji_jax.animator import Animator
from emoji_jax.data import pipeline, sources, synthetic
from emoji_jax.errors import UserError
from emoji_jax.models.vae import VAE
from emoji_jax.training import animation, settings
from emoji_jax.training.run import Run
from tests.training import small

pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()  # Grain's workers ask for them


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in lines(workdir) if "loss" in line}


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "vae"
    config = small.get_config("vae")
    config.log.validate, config.log.grids = 2, 4
    Run(config, workdir).train()
    return workdir


@pytest.fixture(scope="module")
def stage1(vae) -> Path:
    workdir = vae.with_name("stage1")
    config = small.get_config("stage1")
    config.start = (str(vae),)
    config.log.validate, config.log.grids = 2, 4
    Run(config, workdir).train()
    return workdir


def test_the_autoencoders_run_says_how_wide_latents_are(vae):
    cfg = checkpoint.read_config(checkpoint.find(vae))
    deviation = [line for line in lines(vae) if "validation_latent_std" in line][-1]
    np.testing.assert_allclose(1 / cfg.vae.scaling, deviation["validation_latent_std"], rtol=1e-4)


def test_stage_1_has_the_autoencoder_it_started_from(vae, stage1):
    assert checkpoint.read_config(checkpoint.find(stage1)).vae == (
        checkpoint.read_config(checkpoint.find(vae)).vae
    )
    before, after = (_network(run, "vae") for run in (vae, stage1))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def _network(run: Path, network: str) -> dict[str, np.ndarray]:
    directory = checkpoint.find(run) / network
    shapes = checkpoint.shapes(directory)
    wanted = {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in shapes.items()}
    return {name: np.asarray(x) for name, x in checkpoint.restore(directory, wanted).items()}


def test_logs_and_pictures(stage1):
    found = lines(stage1)
    assert [line["step"] for line in found] == [1, 2, 3, 4]
    assert {"loss", "loss_ldm", "loss_ffg", "grad_norm", "lr", "ldm_expression"} <= set(found[0])
    assert {"steps_per_s", "flops_per_s", "validation_loss"} <= set(found[3])
    assert [path.name for path in (stage1 / "samples").iterdir()] == ["validation_0000004.png"]
    assert any((stage1 / "tensorboard").iterdir())
    assert json.loads((stage1 / "config.json").read_text())["options"]["train"]["steps"] == 4


@pytest.mark.parametrize("steps", [2, pytest.param(50, marks=pytest.mark.heavy)])
def test_a_profile_of_some_steps(tmp_path, steps):
    """Also where the run ends first."""
    config = small.get_config("vae")
    config.train.steps, config.log.profile = 6, steps
    Run(config, tmp_path / "run").train()
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


@pytest.mark.heavy
def test_warped_portraits_are_learnt_from_on_top_of_a_stage_without(stage1, tmp_path):
    config = small.get_config("stage1")
    config.start, config.model.warped = (str(stage1),), True
    config.log.grids = 4
    run = Run(config, tmp_path / "warped")
    added = "landmark_encoder.conv_warped.kernel"
    assert not np.any(np.asarray(run.state().best[added]))
    run.train()
    weights = checkpoint.find(tmp_path / "warped")
    assert np.any(_network(weights, "landmark_encoder")["conv_warped.kernel"])
    assert checkpoint.read_config(weights).warped
    # The next stage has it, and a portrait is animated with it.
    config = small.get_config("stage2")
    config.start, config.model.warped = (str(tmp_path / "warped"),), True
    Run(config, tmp_path / "stage2").train()
    (portrait,) = synthetic.render(
        synthetic.portrait(5, 0, "shaded"), synthetic.Expression(), (32, 32)
    )
    face = synthetic.landmarks(synthetic.Expression(), (32, 32))
    animator = Animator.load(tmp_path / "stage2" / "weights")
    frames = list(animator(portrait, synthetic.motion("laugh", 5), ref_landmarks=face))
    assert len(frames) == 5 and frames[0].shape == (32, 32, 3)


def test_stage_2_trains_motion_modules_and_nothing_else(stage1, tmp_path):
    config = small.get_config("stage2")
    config.start = (str(stage1),)
    run = Run(config, tmp_path / "stage2")
    before = run.state()
    start = {name: np.asarray(x) for name, x in before.best.items()}
    assert all(".motion_modules." in name for name in before.trained)
    run.train()
    after = Run(config, tmp_path / "stage2").state()
    assert int(after.step) == 4
    for name, x in after.best.items():
        same = np.array_equal(start[name], np.asarray(x))
        assert same == (name in before.frozen), name
    # The spatial networks are stage 1's.
    unet = _network(stage1, "unet")
    for name, x in unet.items():
        np.testing.assert_array_equal(after.frozen[f"unet.{name}"], x)
    model = checkpoint.load(tmp_path / "stage2")[0]
    assert model.unet.motion and model.frames == 4


def test_stage_1_leaves_motion_modules_out(weights, tmp_path):
    # As converted weights have them.
    config = small.get_config("stage1")
    config.start = (str(weights),)
    assert any(".motion_modules." in name for name in checkpoint.shapes(weights / "unet"))
    state = Run(config, tmp_path / "run").state()
    assert not any(".motion_modules." in name for name in state.best)
    stored = _network(weights, "unet")
    name = "conv_out.kernel"
    np.testing.assert_array_equal(np.asarray(state.best[f"unet.{name}"]), stored[name])


def test_a_mistake_before_the_first_checkpoint_leaves_nothing(vae, tmp_path):
    config = small.get_config("stage1")
    config.start = (str(tmp_path / "not yet"),)
    (tmp_path / "not yet").mkdir()
    with pytest.raises(UserError, match="is no checkpoint"):
        Run(config, tmp_path / "run").state()
    config.optimiser.learning_rate = 3e-4
    config.start = (str(vae),)
    expected = checkpoint.read_config(checkpoint.find(vae)).vae
    assert Run(config, tmp_path / "run").cfg.vae == expected


def test_few_clips_are_enough_to_validate(tmp_path):
    config = small.get_config("stage1")
    config.data.synthetic_clips, config.log.validate = 4, 2
    run = Run(config, tmp_path / "run")
    (batch,) = run.validation.batches
    assert set(batch["clip"]) == {0, 1, 2, 3}


def test_validation_is_of_many_people_and_always_the_same(tmp_path):
    config = small.get_config("stage1")
    config.data.synthetic_clips = 8 * synthetic.CLIPS_PER_IDENTITY
    first, second = (Run(config, tmp_path / "run").validation.batches[0] for _ in range(2))
    assert len(set(first["clip"] // synthetic.CLIPS_PER_IDENTITY)) > 3
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_every_validated_step_is_saved(tmp_path):
    config = small.get_config("stage1")
    config.train.steps, config.checkpoint.every, config.log.validate = 3, 100, 2
    run = Run(config, tmp_path / "run")
    run.train()
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()


def test_what_large_runs_switch_on(stage1, tmp_path):
    """bf16, recomputing, accumulation, workers, a running average; stopped and gone on with."""
    config = small.get_config("stage2")
    config.start, config.dtype = (str(stage1),), "bfloat16"
    config.train.remat, config.train.accumulate, config.data.workers = True, 2, 1
    config.optimiser.average, config.train.steps = 0.9, 1
    Run(config, tmp_path / "run").train()
    config.train.steps = 3
    run = Run(config, tmp_path / "run")
    begun = run.state()
    assert int(begun.step) == 1
    assert all(x.dtype == np.float32 for x in jax.tree.leaves((begun.trained, begun.average)))
    assert run.train() == 3
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3]


def test_an_export_needs_nothing_of_the_machine_that_trained(stage1, tmp_path):
    note = stage1 / "config.json"
    before = note.read_text()
    told = json.loads(before)
    told["options"]["mesh"]["fsdp"], told["options"]["train"]["batch_size"] = 16, 24
    try:
        note.write_text(json.dumps(told))
        run = Run.of(stage1)
        state = run.checkpoints.restore(run.shapes(), None, 2)
        assert int(state.step) == 2
        assert json.loads(note.read_text()) == told
    finally:
        note.write_text(before)


def test_going_on_is_as_if_never_stopped(stage1, tmp_path):
    def config(steps: int):
        config = small.get_config("stage1")
        config.start, config.train.steps = (str(stage1),), steps
        config.optimiser.average = 0.9
        return config

    Run(config(6), tmp_path / "whole").train()
    Run(config(3), tmp_path / "parts").train()
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 99.0}\n{"step": 5, "lo')  # of a run that was killed
    run = Run(config(6), tmp_path / "parts")
    assert int(run.state().step) == 3
    run.train()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for network in ("unet", "image_prompt"):
        whole, parts = (_network(tmp_path / run, network) for run in ("whole", "parts"))
        for name in whole:
            np.testing.assert_array_equal(whole[name], parts[name])


def test_other_options_are_refused(stage1):
    config = small.get_config("stage1")
    config.optimiser.learning_rate = 0.5
    with pytest.raises(UserError, match="other options: optimiser"):
        Run(config, stage1)


def test_runs_that_do_not_know_newer_options(stage1, tmp_path):
    """They had them at their defaults: nothing of an option's kind was there."""
    told = json.loads((stage1 / "config.json").read_text())
    del told["options"]["distillation"], told["options"]["log"]["profile"]
    (tmp_path / "config.json").write_text(json.dumps(told))
    noted = settings.noted(tmp_path)
    assert noted is not None
    before, config = noted[0], small.get_config("stage1")
    settings.check(before)
    settings.check_same(config, before, tmp_path)
    config.train.steps = 100
    settings.check_same(config, before, tmp_path)
    config.distillation.steps = 8
    with pytest.raises(UserError, match="other options: distillation;"):
        settings.check_same(config, before, tmp_path)


def test_kernels_that_the_machine_has_not():
    config = small.get_config("stage1")
    for kernel, said in (("cudnn", "needs an NVIDIA GPU"), ("splash", "needs a TPU")):
        config.attention = kernel
        with pytest.raises(UserError, match=said):
            settings.compute(config, remat=False)


@pytest.mark.parametrize(
    ("section", "option", "value", "message"),
    [
        ("train", "batch_size", 0, "batch_size is 0"),
        ("train", "accumulate", 3, "expected a multiple of 3"),
        ("train", "trainable", ("unet.nothing",), "no parameter is called"),
        ("train", "task", "dance", "expected one of 'animation', 'autoencoder'"),
        ("model", "preset", "huge", "expected one of 'tiny'"),
        ("data", "sources", ("nowhere",), "nowhere has no prepared clips"),
        ("data", "weights", (1.0, 2.0), "data.weights"),
        ("mesh", "fsdp", 3, "mesh.fsdp is 3"),
        ("mesh", "patience", -1.0, "mesh.patience is -1.0; expected at least 0"),
        ("optimiser", "decay", "sometimes", "optimiser.decay"),
        ("log", "grid_clips", 0, "log.grid_clips is 0"),
        ("log", "validate", -1, "log.validate is -1; expected at least 0"),
        ("example", "zoom", 0.0, "example.zoom is 0.0"),
        ("sampler", "wings", 2, "config.sampler does not fit"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, section, option, value, message):
    config = small.get_config("stage1")
    config.unlock()
    config[section][option] = value
    with pytest.raises(UserError, match=message):
        Run(config, tmp_path / "run").state()


def test_a_pyramid_has_as_many_levels_as_its_picture_can_be_halved(tmp_path):
    config = small.get_config("vae")
    config.autoencoder.levels = 9
    with pytest.raises(UserError, match=r"levels is 9; pictures of 32 pixels .* 5 times"):
        Run(config, tmp_path / "run").state()


def test_a_picture_has_two_sides(tmp_path):
    config = small.get_config("stage1")
    config.size = (32,)
    with pytest.raises(UserError, match="expected height and width"):
        Run(config, tmp_path / "run")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run can't be made: File exists"):
        Run(small.get_config("stage1"), tmp_path / "run")


def test_stage_2_sees_what_stage_1_saw(stage1, tmp_path):
    config = small.get_config("stage2")
    config.start, config.model.pupils = (str(stage1),), False
    with pytest.raises(UserError, match=r"model\.pupils is False, but True where"):
        Run(config, tmp_path / "run").state()


def test_stage_2_on_published_motion_modules(stage1, weights, tmp_path):
    """All but motion modules is stage 1's, of which the other folder has them too."""
    config = small.get_config("stage2")
    config.start = (str(weights), str(stage1))
    state = Run(config, tmp_path / "run").state()
    published, ours = (_network(folder, "unet") for folder in (weights, stage1))
    assert set(published) - set(ours) == {n.removeprefix("unet.") for n in state.trained}
    for name, x in state.trained.items():
        np.testing.assert_array_equal(np.asarray(x), published[name.removeprefix("unet.")])
    for name, x in ours.items():
        np.testing.assert_array_equal(np.asarray(state.frozen[f"unet.{name}"]), x)


def test_a_start_without_weights(tmp_path):
    config = small.get_config("stage1")
    config.start = (str(tmp_path),)
    with pytest.raises(UserError, match="is no checkpoint"):
        Run(config, tmp_path / "run").state()


def later_clip(config, tmp_path: Path) -> int:
    """A clip that comes up in the fourth step for the first time."""
    config.data.synthetic_clips = 48
    run = Run(config, tmp_path / "order")
    seen = [next(run.iterator)["clip"] for _ in range(4)]
    assert not set(seen[3]) & set(np.concatenate(seen[:3]))
    return int(seen[3][5])


def test_no_number_stops_the_run(monkeypatch, tmp_path):
    config = small.get_config("stage1")
    config.train.steps = 6
    bad = later_clip(config, tmp_path)
    loss, example = animation.loss, pipeline.example

    def broken_loss(model, batch, key, *args, **options):
        value, metrics = loss(model, batch, key, *args, **options)
        dark = batch["landmarks"].reshape(len(batch["landmarks"]), -1).max(1) == 0
        examples = jax.numpy.where(dark, jax.numpy.nan, metrics["examples"])
        return value + 0 * examples.sum(), metrics | {"examples": examples}

    def broken_example(footage, rng, cfg):
        made = dict(example(footage, rng, cfg))
        return made | {"landmarks": made["landmarks"] * (footage.index != bad)}

    monkeypatch.setattr(animation, "loss", broken_loss)
    monkeypatch.setattr(pipeline, "example", broken_example)
    with pytest.raises(UserError, match="step 4: loss nan") as error:
        Run(config, tmp_path / "run").train()
    assert f"of clips synthetic {bad};" in str(error.value)
    assert "last good checkpoint is step 2" in str(error.value)


def test_input_that_fails_loses_nothing(monkeypatch, tmp_path):
    config = small.get_config("stage1")
    config.train.steps, config.checkpoint.every = 6, 100
    bad = later_clip(config, tmp_path)
    get = sources.Synthetic.__getitem__

    def broken(self, index):
        if index == bad:
            raise FileNotFoundError("shard-00003 is gone")
        return get(self, index)

    with monkeypatch.context() as context, pytest.raises(UserError) as error:
        context.setattr(sources.Synthetic, "__getitem__", broken)
        Run(config, tmp_path / "run").train()
    message = "step 4: the input fails (shard-00003 is gone); saved as of step 3"
    assert str(error.value).startswith(message)
    run = Run(config, tmp_path / "run")  # it is there again
    assert int(run.state().step) == 3
    run.train()
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]


def arguments(workdir: Path, *options: str) -> list[str]:
    """Of `python -m emoji_jax.train` on the small networks."""
    config = Path(__file__).with_name("small.py")
    return [
        *(sys.executable, "-m", "emoji_jax.train"),
        *(f"--config={config}:stage1", f"--workdir={workdir}"),
        *options,
    ]


@pytest.fixture
def command(tmp_path):
    """Starts a run."""

    def start(workdir: Path, *options: str) -> subprocess.Popen:
        said = stack.enter_context((tmp_path / "said").open("w"))
        return subprocess.Popen(
            arguments(workdir, *options),
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            stdout=said,
            stderr=subprocess.STDOUT,
        )

    with contextlib.ExitStack() as stack:
        yield start


def wait_for_step(workdir: Path, step: int, process: subprocess.Popen) -> None:
    for _ in range(3000):  # ten minutes: other programs may be busy
        if (workdir / "metrics.jsonl").is_file() and step in losses_so_far(workdir):
            return
        assert process.poll() is None
        time.sleep(0.2)
    raise AssertionError("it takes too long")


def losses_so_far(workdir: Path) -> dict[int, float]:
    text = (workdir / "metrics.jsonl").read_text()
    whole = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {line["step"]: line["loss"] for line in whole}


@pytest.mark.heavy
def test_killed_and_terminated_runs_go_on_exactly(command, tmp_path):
    steps = ["--config.train.steps=60", "--config.checkpoint.every=4"]
    whole = command(tmp_path / "whole", *steps)
    assert whole.wait() == 0
    run = tmp_path / "run"
    process = command(run, *steps)
    wait_for_step(run, 10, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    log = run / "metrics.jsonl"  # what it has been through must not be done again
    log.write_text(log.read_text().replace('"step": 1,', '"kept": true, "step": 1,', 1))
    process = command(run, *steps)
    wait_for_step(run, 20, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    stopped = max(losses(run))
    assert not (run / "weights").exists()
    assert stopped < 60
    process = command(run, *steps)
    assert process.wait() == 0
    assert losses(run) == losses(tmp_path / "whole") and lines(run)[0]["kept"]
    assert (run / "weights" / "config.json").is_file()


def test_command_line_mistakes(command, tmp_path):
    process = command(
        tmp_path / "run", "--config.train.batch_size=7", "--config.train.accumulate=2"
    )
    assert process.wait() == 2
    assert (
        (tmp_path / "said")
        .read_text()
        .strip()
        .splitlines()[-1]
        .startswith("error: train.batch_size is 7")
    )


ABLATIONS = sorted(path.stem for path in (config_file.folder() / "ablations").glob("*.py"))


def test_there_is_an_ablation_for_every_row_of_table_2():
    assert len(ABLATIONS) == 6


@pytest.mark.heavy
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_train_and_resume(tmp_path, name, stage):
    path = config_file.folder() / "ablations" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = small.shrink(module.get_config(stage), stage)
    plain = small.get_config(stage).to_dict()
    changed = [
        (section, option)
        for section, options in config.to_dict().items()
        if isinstance(options, dict)
        for option, value in options.items()
        if plain[section][option] != value
    ]
    assert len(changed) == 1  # an ablation changes one thing
    config.train.steps = 2
    Run(config, tmp_path / "run").train()
    config.train.steps = 4
    run = Run(config, tmp_path / "run")
    assert int(run.state().step) == 2
    run.train()
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3, 4]


@pytest.mark.heavy
def test_overfits_one_clip(monkeypatch, vae, tmp_path):
    # An autoencoder that has hardly been trained has as much noise in its latents as anything.
    encode = VAE.encode
    monkeypatch.setattr(VAE, "encode", lambda self, pictures, key=None: encode(self, pictures))
    config = small.get_config("stage1")
    config.start = (str(vae),)
    config.data.synthetic_clips = 1
    config.train.batch_size, config.train.frames = 2, 4
    config.train.steps, config.log.every = 300, 50
    config.optimiser.learning_rate = 2e-3
    config.example.zoom, config.example.colour = 1.0, 0.0
    config.animation.known = 0.0
    config.checkpoint.every = 1000
    Run(config, tmp_path / "run").train()
    found = losses(tmp_path / "run")
    assert found[300] < 0.4 * found[50]
