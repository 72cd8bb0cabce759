"""Whatever is on the command line or in a table's cell: settings, or a mistake told in a line.

`pytest tests/fuzz` tries a few cases of each kind, `pytest --heavy tests/fuzz` hundreds.
"""

import sys
import warnings
from collections.abc import Callable

import jax
import ml_collections
import pytest
from absl import flags
from hypothesis import strategies as st
from ml_collections import config_flags

from emoji_jax import command, diffusion, driver, options, pairs
from emoji_jax import config as config_file
from emoji_jax.data import synthetic
from emoji_jax.errors import UserError
from emoji_jax.models import emoji
from emoji_jax.training import settings as training
from emoji_jax.training import sharding, state
from tests.fuzz.cases import assert_all

MOTION = synthetic.motion("wink", 5)


def parsed(file: str, *arguments: str) -> ml_collections.ConfigDict:
    """What a command would get, of flags that are only its configuration."""
    known = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=known)
    argv = ["command", f"--config={config_file.folder() / file}", *arguments]
    before, sys.argv = sys.argv, list(argv)  # ml_collections looks there for what it overrides
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
            command._parse(argv, known)
    finally:
        sys.argv = before
    return known.config


def sample(*arguments: str) -> None:
    """All that `emoji_jax.sample` does before it reads weights, and the motion's timing."""
    config = parsed("sample.py", *arguments)
    options.of_loading(config)
    animate(options.of_animating(config))


def animate(found: dict) -> None:
    moving, sampler = found["moving"], found["sampler"]
    hash((sampler, moving, found["framing"]))  # programs are compiled once for each
    if sampler.steps:
        diffusion.SAMPLERS[sampler.name or "ddim"](diffusion.schedule(), sampler.steps)
    if moving.loop <= 20 and (moving.fps or 25) <= 100 and moving.speed >= 0.1:
        played = driver.read(MOTION, moving, pytest.fail, lambda *_: None)
        assert len(played.landmarks)
    if 0 <= found["seed"] < 2**32:  # as an Animator asks for
        jax.random.key(found["seed"])


def _is_name(source: object) -> bool:
    return isinstance(source, str)


def train(file: str) -> Callable[..., None]:
    """All that `emoji_jax.train` does before it makes networks."""

    def run(*arguments: str) -> None:
        config = parsed(file, *arguments)
        training.check(config)
        cfg = training.model_config(config)
        training.compute(config, remat=config.train.remat)
        training.animation(config)
        training.autoencoder(config)
        mesh = sharding.mesh(config.mesh.fsdp)
        sharding.check_batch(config.train.batch_size, config.train.accumulate, mesh)
        optimiser = training.optimiser(config)
        state.learning_rate(optimiser, config.train.steps)
        training.example(config, cfg)
        training.pipeline(config)
        if set(config.data.sources) == {"synthetic"} or not all(map(_is_name, config.data.sources)):
            training.source(config, cfg, "train")
        if (cfg.size, cfg.frames) != (emoji.PRESETS[config.model.preset]().size, 1):
            emoji.abstract(cfg)

    return run


def dotted(config: ml_collections.ConfigDict, before: str = "") -> list[str]:
    found = []
    for name in config:
        value = config.get_ref(name).get()
        inside = isinstance(value, ml_collections.ConfigDict)
        found += dotted(value, f"{before}{name}.") if inside else [f"{before}{name}"]
    return found


BASE = parsed("base.py")
NAMES = dotted(BASE)
# Of the options that sampling reads.
SAMPLING = [
    name
    for name in NAMES
    if name.partition(".")[0] in ("seed", "size", "dtype", "attention", *pairs._GROUPS[1:])
]
JUNK = (
    *("", " ", "0", "1", "-1", "2", "0.5", "-0.5", "1e3", "1e-9", "1e999", "-1e999", "1e-999"),
    *("nan", "-nan", "inf", "-inf", "NaN", "Infinity", "2147483648", "9223372036854775808"),
    *("-9223372036854775809", "1" + "0" * 40, "9" * 5000, "0x10", "1_000", "1,000", "٣", "½", "²"),
    *("None", "none", "null", "True", "False", "true", "yes", "()", "(1,)", "(512,512)", "(-1,0)"),
    *("(nan,inf)", "((1,2),)", "[1]", "{}", "{'a':1}", "(", "'", '"', '"""', "\\", "\0", "\n"),
    *("1;2", "=", "a=b", "--", "__import__('os').system('false')", "lambda: 0", "()" * 60, "é"),
    *("🙂", "\ud800", "a" * 5000, "crop", "release", "all", "auto", "average", "cosine", "ddim"),
    *("('',)", "('unet.*', 5)", "(None,)", "float32", "pose", "absolute", "constant", "tiny"),
)
values = st.one_of(
    st.sampled_from(JUNK),
    st.text(max_size=12),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.tuples(st.integers(-2, 2**33), st.integers(-2, 1024)).map(str),
)
STRANGE = (
    *("", ".", "sampler", "sampler.", ".steps", "sampler..steps", "samplr.steps", "sampler.stps"),
    *("sampler.steps.x", "seed.x", "size[0]", "size.0", "__class__", "sampler.__dict__", "lock"),
    *("sampler.update", "keys", "get_ref", "_fields", "sampler steps", "é", "🙂", "a" * 3000, "-"),
)


def arguments(names: list[str]) -> st.SearchStrategy[list[str]]:
    named = st.one_of(st.sampled_from(names), st.sampled_from(names), st.sampled_from(STRANGE))
    whole = st.tuples(named, values).map(lambda pair: f"--config.{pair[0]}={pair[1]}")
    other = st.one_of(
        named.map(lambda name: f"--config.{name}"),
        named.map(lambda name: f"--noconfig.{name}"),
        values.map(lambda value: f"--config={value}"),
        values.map(lambda value: f"--{value}"),
        values,
    )
    return st.lists(st.one_of(whole, whole, whole, other), min_size=1, max_size=4)


def assert_survives(run: Callable[..., None], *given: object) -> None:
    """Raises unless it returns, or tells the mistake in one line that is no novel."""
    try:
        run(*given)
    except UserError as error:
        line = " ".join(str(error).split())
        assert 0 < len(line) < 1000 and "Traceback" not in line


def assert_all_survive(run: Callable[..., None], names: list[str], cases: int) -> None:
    def check(given: list[str]) -> None:
        # Help is no mistake, and ends the program.
        if not any(argument.lstrip("-") in command._HELP for argument in given):
            assert_survives(run, *given)

    assert_all(check, arguments(names), cases)


COMMANDS = {
    "sample.py": (sample, SAMPLING),
    "stage1.py": (train("stage1.py"), NAMES),
    "tiny_stage2.py": (train("tiny_stage2.py"), NAMES),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_good_options_are_taken(name):
    run, _ = COMMANDS[name]
    run()
    run("--config.seed=5", "--config.sampler.steps=20")
    with pytest.raises(UserError, match="no such option"):
        run("--config.sampler.stepz=20")


@pytest.mark.parametrize("name", COMMANDS)
def test_any_options(name):
    assert_all_survive(*COMMANDS[name], 50)


@pytest.mark.heavy
@pytest.mark.parametrize("name", COMMANDS)
def test_many_options(name):
    assert_all_survive(*COMMANDS[name], 500)


def assert_all_cells_survive(cases: int) -> None:
    names = [*SAMPLING, *STRANGE, "seed"]

    def check(given: list[tuple[str, str]]) -> None:
        assert_survives(lambda: animate(pairs.configured(BASE, tuple(given))))

    assert_all(check, st.lists(st.tuples(st.sampled_from(names), values), max_size=4), cases)


def test_any_cells():
    assert_all_cells_survive(50)


@pytest.mark.heavy
def test_many_cells():
    assert_all_cells_survive(500)
