"""Runs `python -m emoji_jax.prepare` and looks at what it leaves."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--config.crop.size=64", "--config.track.min_frames=5", "--config.crop.smallest_face=30"]
ALL = [*QUICK, "--config.split.min_identities=1", "--config.split.validation=0.4"]


def command(videos: Path, out: Path, *more: str, workers: int = 0) -> list[str]:
    program = [sys.executable, "-m", "emoji_jax.prepare", "--videos", str(videos)]
    return [*program, "--out", str(out), f"--workers={workers}", *more]


def call(*arguments, limit: int = 0, **options) -> subprocess.CompletedProcess:
    """A run that ends by itself; `limit`: no file may be larger, KiB."""
    program = command(*arguments, **options)
    if limit:
        program = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "-", *program]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


def report(out: Path) -> dict[str, dict]:
    """Lines of the report by input."""
    lines = (out / "report.jsonl").read_text().splitlines()
    return {line["input"]: line for line in map(json.loads, lines)}


def dataset(out: Path) -> dict[str, bytes]:
    """Everything but the parts."""
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name[0] != "."}


def leftovers(out: Path) -> list[Path]:
    """Files of which nothing should be left."""
    return [path for path in out.rglob(".*") if path.name != ".lock"]
