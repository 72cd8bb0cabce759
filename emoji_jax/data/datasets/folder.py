"""Any folder of videos, animated images and folders of frames."""

from collections.abc import Iterator
from pathlib import Path

from emoji_jax.data.datasets import ReaderConfig, Unit, inputs, relative


def units(root: Path, config: ReaderConfig) -> Iterator[Unit]:
    """Every file is one input; who is in it is the name of the top folder, or else the file's."""
    for path in inputs(root):
        name = relative(path, root)
        parts = Path(name).parts
        identity = parts[0] if len(parts) > 1 else Path(name).stem if path.is_file() else name
        yield Unit(name, str(path), identity)
