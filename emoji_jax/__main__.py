"""The command `emoji-jax`: what `python -m emoji_jax.NAME` does, as `emoji-jax NAME`."""

import ast
import importlib.util
import runpy
import sys
from pathlib import Path

COMMANDS = (
    "sample",
    "batch",
    "app",
    "prepare",
    "encode",
    "train",
    "export",
    "convert",
    "evaluate",
    "bench",
    "ablate",
    "assets",
)


def main() -> None:
    """Runs the command that is named first; alone, tells which there are."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print("emoji-jax COMMAND --OPTION=VALUE …; options: emoji-jax COMMAND --helpshort\n")
        print("\n".join(f"  {name:10}{_purpose(name)}" for name in COMMANDS))
    elif name == "--version":
        from emoji_jax import __version__

        print(__version__)
    elif name in COMMANDS:
        sys.argv = [f"emoji-jax {name}", *rest]
        runpy.run_module(f"emoji_jax.{name}", run_name="__main__", alter_sys=True)
    else:
        told = f"no command {name[:80]!r}; expected one of {', '.join(COMMANDS)}"
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)


def _purpose(name: str) -> str:
    """The first line of a command's docstring; nothing is imported for it."""
    spec = importlib.util.find_spec(f"emoji_jax.{name}")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin)
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    return told.partition("\n")[0]


if __name__ == "__main__":
    main()
