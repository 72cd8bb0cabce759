"""A trace of something that runs, and what its time goes into."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

# What a profiler calls the rows of a device on which nothing but kernels is.
_ROWS = ("Stream", "XLA Ops")


def record(folder: str | Path, function: Callable[[], Any]) -> Path:
    """Runs something; writes a trace, for TensorBoard or Perfetto, and returns its file."""
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(function())
    return max(Path(folder).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)


def tell(folder: str | Path, function: Callable[[], Any]) -> None:
    """Records, and prints the table; a profiler that fails is told, and stops nothing."""
    try:
        trace = record(folder, function)
        print("\n".join(table(by_kind(trace))) or f"{trace} has no kernels", flush=True)
    except Exception as error:  # whatever a driver may say
        print(f"no trace: {type(error).__name__}: {error}", flush=True)


def by_kind(trace: Path, device: str = "/device:", rows: tuple[str, ...] = _ROWS) -> dict:
    """Seconds and number of calls of each kind of kernel; numbers at a name's end don't count.

    A CPU's rows are not of that sort: it has none.
    """
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        if not plane.name.startswith(device):
            continue
        for row in plane.lines:
            if not row.name.startswith(rows):
                continue
            for event in row.events:
                kind = found[re.sub(r"([._]\d+)+$", "", event.name)]
                kind[0] += event.duration_ns / 1e9
                kind[1] += 1
    return dict(found)


def table(found: dict[str, list[float]], count: int = 15) -> Iterator[str]:
    """Those that take the most time."""
    whole = sum(seconds for seconds, _ in found.values())
    for name, (seconds, calls) in sorted(found.items(), key=lambda item: -item[1][0])[:count]:
        yield f"{seconds / whole:6.1%} {1e3 * seconds:9.1f} ms {calls:7} x {name[:90]}"
