"""Recordings named by subject and expression, such as 115 subjects with 18 expressions each."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from emoji_jax.data.datasets import ReaderConfig, Unit, inputs, relative
from emoji_jax.errors import UserError


def units(root: Path, config: ReaderConfig) -> Iterator[Unit]:
    """One input per file (or folder of frames); a subject is an identity.

    Args:
      root: the folder.
      config: its pattern is what names look like, from the end of the path and without suffix,
        such as `{subject}_{expression}` or `{subject}/{expression}-{take}`; further names in
        braces stand for anything.

    Raises:
      UserError: the pattern lacks {subject} or {expression}.
    """
    expected = _compile(config.pattern)
    for path in inputs(root):
        name = relative(path, root)
        stem = name if path.is_dir() else str(PurePosixPath(name).with_suffix(""))
        match = expected.search(stem)
        yield Unit(
            name,
            str(path),
            identity=match["subject"] if match else stem,
            source=f"recordings {root.name}",
            expression=match["expression"] if match else "",
            refused="" if match else f"name does not fit the pattern {config.pattern}",
        )


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    names = parts[1::2]
    if not {"subject", "expression"} <= set(names) or len(set(names)) < len(names):
        raise UserError(
            f"config.reader.pattern is {pattern!r}; expected {{subject}} and {{expression}} in it, "
            "each once"
        )
    text = "".join(
        f"(?P<{part}>[^/]+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)
    )
    return re.compile(f"(?:^|/){text}$")
