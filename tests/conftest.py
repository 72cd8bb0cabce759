"""Options of the test suite, and shape checks while it runs."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("emoji_jax", "beartype.beartype")

_COMMITTED = Path(__file__).parent / "golden"


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
def golden(request) -> Path:
    """Folder of recorded reference numbers."""
    return request.config.getoption("--golden").absolute()
