"""Programs that are compiled once for all runs of these tests, also in processes of their own."""

import os

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("programs"))
    before = jax.config.jax_compilation_cache_dir
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory
    jax.config.update("jax_compilation_cache_dir", directory)
    yield
    os.environ.pop("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", before)
