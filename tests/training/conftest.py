"""Programs that are compiled once for all runs of these tests, also in processes of their own."""

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("programs"))
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", directory)
        jax.config.update("jax_compilation_cache_dir", directory)
        yield
    jax.config.update("jax_compilation_cache_dir", before)
