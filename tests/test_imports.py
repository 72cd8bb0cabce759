"""Who may import whom, and what a bare machine can import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "emoji_jax"
MAINS = {"sample", "batch", "app", "prepare", "encode", "train", "export", "convert"}
MAINS |= {"evaluate", "ablate"}
# What is made of networks, pictures and motions together.
_FRONT = {"animator", "arguments", "animation", "drawn", "driver", "making", "page", "bench"}
_ABOVE = _FRONT | {"training"}
# Package or module, and what it must not import at its top.
FORBIDDEN = {
    "models": _ABOVE
    | {"diffusion", "sampling", "programs", "generate", "data", "landmarks", "video"},
    "diffusion": _ABOVE | {"models", "sampling", "programs", "generate", "data"},
    "sampling": _ABOVE | {"landmarks", "video", "data"},
    "plan": _ABOVE | {"models", "sampling", "programs", "generate", "data"},
    "programs": _ABOVE | {"landmarks", "video", "data"},
    "landmarks": _ABOVE | {"models", "diffusion", "sampling", "programs", "generate"},
    "data": _ABOVE | {"models", "diffusion", "sampling", "programs", "generate"},
    "metrics": _ABOVE | {"models", "diffusion", "sampling", "programs", "generate"},
    "driver": {"models", "diffusion", "sampling", "programs", "generate", "training", "page"},
    "animator": {"training", "page", "bench", "making"},
    "training": _FRONT,
    "bench": {"page"},
}
NO_JAX = {"landmarks", "data", "images", "video", "video_writer", "video_encoder", "assets"}
LAZY = {"mediapipe", "av", "cv2", "gradio", "torch", "tensorflow_datasets", "apache_beam"}


def imports(path: Path, *, top_only: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    found = imports(path, top_only=False)
    ours = {name.split(".")[1] for name in found if name.startswith("emoji_jax.")}
    assert not ours & FORBIDDEN.get(part, set())
    assert not ours & MAINS, "nobody imports a main"
    top = {name.split(".")[0] for name in imports(path, top_only=True)}
    assert not top & LAZY
    if part in NO_JAX:
        assert not {name.split(".")[0] for name in found} & {"jax", "flax", "orbax", "optax"}


def test_networks_import_with_little_installed():
    """A machine with jax, flax, optax and orbax can train; it may have nothing else."""
    code = """
import sys
for name in ("mediapipe", "av", "cv2", "grain", "ml_collections", "transformers", "torch", "PIL"):
    sys.modules[name] = None
import emoji_jax.models.emoji, emoji_jax.diffusion, emoji_jax.sampling, emoji_jax.checkpoint
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_data_workers_do_not_import_jax():
    code = """
import sys
import emoji_jax, emoji_jax.landmarks, emoji_jax.video, emoji_jax.video_writer
import emoji_jax.assets, emoji_jax.data.synthetic, emoji_jax.data.transforms
assert "jax" not in sys.modules and "mediapipe" not in sys.modules and "av" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_files_stay_short():
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 350}
    assert not long
