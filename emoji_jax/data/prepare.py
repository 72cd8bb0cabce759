"""Preparation: videos in, clips of cropped faces out, one input at a time, on many machines.

Every input becomes a part file; parts become the shards of a TFDS dataset. Both steps start from
what is on the disk, so a run that was stopped goes on where it was.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from emoji_jax.data.clips import features, serialise
from emoji_jax.data.cutting import Detect, PrepareConfig, make_clips
from emoji_jax.data.datasets import DRAWN, ReaderConfig, Unit, readers
from emoji_jax.data.parts import CannotWriteError, Part, PartWriter
from emoji_jax.errors import UserError
from emoji_jax.landmarks import Detector

_STOP = "\x1fstop\x1f"
# Of a disk at the other end of a network, these may pass.
_TRANSIENT = {
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EBUSY", "EINTR", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "ENETDOWN"),
        *("ENETUNREACH", "ENETRESET", "ECONNRESET", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
}


def find_units(root: Path | None, dataset: str, config: ReaderConfig) -> list[Unit]:
    """What there is in a folder, or what is drawn without one, in order of names.

    Raises:
      UserError: no such folder or reader, or there is nothing.
    """
    known = readers()
    if dataset not in known:
        raise UserError(f"--dataset is {dataset!r}; expected one of {', '.join(known)}")
    root = _folder(root, dataset)
    units: dict[str, Unit] = {}
    for unit in known[dataset](root, config):
        if config.licence or not unit.licence:
            unit = dataclasses.replace(unit, licence=config.licence or "not known")
        if not unit.source:
            unit = dataclasses.replace(unit, source=root.absolute().name)
        while unit.name in units:
            twice = unit.refused or "listed twice"
            unit = dataclasses.replace(unit, name=f"{unit.name} (again)", refused=twice)
        units[unit.name] = unit
    if not units:
        raise UserError(f"{root} holds nothing that the reader {dataset} looks for")
    return [units[name] for name in sorted(units)]


def _folder(root: Path | None, dataset: str) -> Path:
    if dataset in DRAWN:
        if root is not None:
            raise UserError(f"--videos names {root}; expected none, as {dataset} are drawn")
        return Path()
    if root is None:
        raise UserError(f"--dataset={dataset} needs --videos, a folder of videos")
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"--videos names {root}, which {what}; expected a folder")
    return root


def part_path(out: Path, unit: Unit, config: PrepareConfig) -> Path:
    """Where the part of an input is: elsewhere, if the input or the options have changed."""
    stamp: list[int] = []
    with contextlib.suppress(OSError):
        status = os.stat(unit.path)
        stamp = [status.st_size, status.st_mtime_ns]
    placeless = dataclasses.replace(unit, path="")  # the folder may be moved
    described = json.dumps([dataclasses.astuple(placeless), stamp, config.fingerprint])
    digest = hashlib.sha256(described.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return out / "parts" / digest[:2] / f"{digest}.part"


def prepare_unit(unit: Unit, path: Path, config: PrepareConfig, detect: Detect) -> None:
    """Makes the part of one input. Whatever is wrong with the input ends up in its report.

    Raises:
      CannotWriteError: the part can't be written.
    """
    report: dict[str, Any] = {
        "input": unit.name,
        **{key: getattr(unit, key) for key in ("identity", "source", "licence", "expression")},
        **{"status": "dropped", "reason": unit.refused, "clips": 0, "frames": 0},
    }
    with PartWriter(path) as part:
        if not unit.refused:
            for attempt in range(config.attempts):
                if attempt:
                    time.sleep(config.pause * 2 ** (attempt - 1))
                    part.clear()
                outcome, again = _attempt(unit, part, config, detect)
                if not again:
                    break
            report |= outcome
        part.finish(report)


def _attempt(
    unit: Unit, part: PartWriter, config: PrepareConfig, detect: Detect
) -> tuple[dict[str, Any], bool]:
    """What came of an input, and whether the next time it may be something else."""
    account: dict[str, Any] = {}
    frames = 0
    layout = _layout()
    try:
        for clip in make_clips(unit, detect, config, account):
            part.add(serialise(clip, layout))
            frames += len(clip)
    except CannotWriteError:
        raise
    except Exception as error:  # one input must not end the work on all others
        part.clear()
        known = isinstance(error, UserError | OSError)
        again = _is_transient(error)
        told = str(error)
        if unit.path:  # the report says nothing about this machine
            told = told.replace(unit.path, unit.name)
        detail = " ".join(told.split()) or type(error).__name__
        return {
            "reason": "unreadable" if known else "failed",
            "detail": detail if known else f"{type(error).__name__}: {detail}",
            "retry": again or not known,
        }, again
    outcome = {"clips": len(part.lengths), "frames": frames, **account}
    if part.lengths:
        return outcome | {"status": "kept"}, False
    reasons = account["dropped"]
    return outcome | {"reason": max(reasons, key=lambda r: reasons[r])}, False


def _is_transient(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in _TRANSIENT:
            return True
        error = error.__cause__ or error.__context__
    return False


@functools.cache
def _layout() -> Any:
    return features()


@functools.cache
def _detect(model: str | None) -> Detect:
    return Detector(model).detect_all


def _work(item: tuple[Unit, str], config: PrepareConfig, model: str | None) -> None:
    """What a worker does with an element of the pipeline."""
    unit, path = item
    try:
        prepare_unit(unit, Path(path), config, _detect(model))
    except UserError as error:
        # Beam passes on nothing but the text, among much else.
        raise RuntimeError(f"{_STOP}{error}{_STOP}") from None


def make_parts(
    units: Sequence[Unit],
    out: Path,
    config: PrepareConfig,
    *,
    workers: int,
    runner: str = "",
    beam_args: Iterable[str] = (),
) -> list[Part]:
    """The parts of all inputs, in their order; those that are there already stay as they are.

    Args:
      units: the inputs.
      out: folder of the dataset.
      config: what is made of them.
      workers: processes on this machine; 0: this one.
      runner: Beam's, of a cluster.
      beam_args: further options of Beam.

    Raises:
      UserError: Beam is missing or does not take an option, or the parts can't be written.
    """
    paths = [part_path(out, unit, config) for unit in units]
    parts = {path: Part.read(path) for path in paths}
    missing = [
        (unit, path)
        for unit, path in zip(units, paths, strict=True)
        if (part := parts[path]) is None or part.report.get("retry")
    ]
    print(f"{len(units)} inputs, {len(missing)} to do", file=sys.stderr)
    _run(missing, config, workers, runner, beam_args)
    parts |= {path: Part.read(path) for _, path in missing}
    made = [part for part in parts.values() if part is not None]
    if len(made) < len(paths):
        raise RuntimeError(f"{len(paths) - len(made)} parts are missing after the run")
    return made


def _run(
    items: Sequence[tuple[Unit, Path]],
    config: PrepareConfig,
    workers: int,
    runner: str,
    beam_args: Iterable[str],
) -> None:
    """Makes parts, in any order: in this process (no workers), in several, or on a cluster."""
    from emoji_jax.assets import fetch

    if not items:
        return
    model = str(fetch("face_landmarker.task"))
    if not runner and (workers < 1 or len(items) == 1):
        for unit, path in tqdm(items, desc="inputs", file=sys.stderr):
            prepare_unit(unit, path, config, _detect(model))
        return
    from emoji_jax.data.beam import each, progress

    work = functools.partial(
        _work,
        config=config,
        model=None if runner else model,  # other machines fetch their own
    )
    try:
        with progress([path for _, path in items]):
            each([(unit, str(path)) for unit, path in items], work, workers, runner, beam_args)
    except UserError:
        raise
    except Exception as error:
        told = re.search(f"{_STOP}(.*?){_STOP}", str(error), re.DOTALL)
        if told is None:
            raise
        raise UserError(told[1]) from None
