"""Options of the test suite, and shape checks while it runs."""

import os
from pathlib import Path

# Many tests run commands, each of which would compile the same programs again.
_PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_PROGRAMS))

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("emoji_jax", "beartype.beartype")

_COMMITTED = Path(__file__).parent / "golden"
PORTRAIT = _COMMITTED / "landmarks" / "astronaut.jpg"
"""NASA's photograph of Eileen Collins, 320x448; public domain."""


def pytest_addoption(parser):
    parser.addoption(
        "--golden",
        type=Path,
        default=_COMMITTED,
        help="folder of recorded reference numbers; by default the small one beside the tests",
    )
    parser.addoption("--heavy", action="store_true", help="also run tests that take minutes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--heavy"):
        return
    for item in items:
        if "heavy" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="heavy: run with --heavy"))


@pytest.fixture(scope="session")
def landmark_model() -> Path:
    """The face landmarker's file; without it there is nothing to detect with."""
    from emoji_jax import assets
    from emoji_jax.errors import UserError

    try:
        return assets.fetch("face_landmarker.task")
    except UserError as error:
        pytest.skip(f"no landmark model: {error}")


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A checkpoint of very small networks with random weights."""
    from emoji_jax import checkpoint
    from emoji_jax.models.emoji import initialise
    from emoji_jax.training import export
    from tests.training.small import NETWORKS

    path = tmp_path_factory.mktemp("weights") / "random"
    export.write(path, NETWORKS, checkpoint.flatten(initialise(NETWORKS, seed=0)))
    return path


@pytest.fixture(scope="session")
def golden(request) -> Path:
    """Folder of recorded reference numbers."""
    return request.config.getoption("--golden").absolute()
