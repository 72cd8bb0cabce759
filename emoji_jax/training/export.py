"""From a run to a checkpoint that can be sampled from, or that the next stage starts from."""

import itertools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.typing import DTypeLike

from emoji_jax import checkpoint
from emoji_jax.models.emoji import EmojiConfig


def write(
    directory: Path,
    cfg: EmojiConfig,
    parameters: Mapping[str, Any],
    dtype: DTypeLike = np.float32,
) -> None:
    """Writes a checkpoint; one that is there already is replaced once the new one is complete.

    Args:
      directory: of the checkpoint.
      cfg: the networks'.
      parameters: by dotted name, the network's first.
      dtype: of matrices and kernels; norms and biases stay fp32.

    Raises:
      UserError: it can't be written.
    """
    names = sorted(parameters)
    networks = {n: list(g) for n, g in itertools.groupby(names, lambda name: name.split(".")[0])}

    def gathered(name: str) -> np.ndarray:
        x: Any = parameters[name]
        if jax.process_count() > 1:
            x = multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x).astype(dtype if x.ndim > 1 else np.float32)

    new = directory.with_name(f"{directory.name}.new")
    if not jax.process_index():
        shutil.rmtree(new, ignore_errors=True)
    contents = (
        (network, {name.removeprefix(f"{network}."): gathered(name) for name in names})
        for network, names in networks.items()
    )
    if jax.process_index():
        for _ in contents:  # has its part in gathering each network
            pass
    else:
        checkpoint.save(new, cfg, contents)
        old = directory.with_name(f"{directory.name}.{os.getpid()}.old")
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
    if jax.process_count() > 1:  # nobody reads, or goes, before it is complete
        multihost_utils.sync_global_devices(str(directory))
