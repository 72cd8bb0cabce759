"""Compiled programs are kept for the next run."""

import hashlib
import os
import platform
import sys
import tempfile
from pathlib import Path

from emoji_jax import assets
from emoji_jax.errors import UserError


def remember() -> None:
    """Has JAX keep what it compiles in the cache, unless `JAX_COMPILATION_CACHE_DIR` says where.

    An entry is found by the program, the options and the versions that it was compiled with, so
    that none can be stale. Empty, the variable switches this off.

    Raises:
      UserError: JAX's variable for what is worth keeping is no number of seconds.
    """
    place = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder()))
    least = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    try:
        seconds = float(least)
    except ValueError:
        raise UserError(
            f"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS is {least!r}; expected seconds"
        ) from None
    if not place or "jax" not in sys.modules:
        return  # which reads the variables when it is imported
    import jax

    if jax.config.jax_compilation_cache_dir not in (None, place):
        return  # somebody has chosen, in Python
    jax.config.update("jax_compilation_cache_dir", place)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


def check() -> str:
    """Where what is compiled will be found again.

    Raises:
      UserError: nowhere, or nothing can be written there.
    """
    place = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if not place:
        raise UserError("JAX_COMPILATION_CACHE_DIR is empty: what is compiled would be lost")
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(
            f"{place}, where what is compiled is kept, can't be written: {error.strerror}"
        ) from None
    return place


def peak_memory() -> float:
    """Most bytes that the accelerator has had in use; on a CPU, this process."""
    import resource

    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return float(stats.get("peak_bytes_in_use", process))


def folder() -> Path:
    """In the cache of outside files, one for each kind of processor: home folders are shared."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kind = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    told = f"{platform.machine()} {platform.processor()} {kind}"
    return assets.cache() / "compiled" / hashlib.sha256(told.encode()).hexdigest()[:8]
