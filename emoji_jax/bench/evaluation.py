"""A whole evaluation: every method on every pair, measured once, and what comes of it."""

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emoji_jax import assets, checkpoint
from emoji_jax.animator import Animator
from emoji_jax.bench import methods, mini, report, study
from emoji_jax.bench.folder import Bench, Clip, Pair, read_strip, save_strip
from emoji_jax.bench.measure import Measurement, OwnWeights
from emoji_jax.errors import UserError
from emoji_jax.metrics import brisque, fvd, identity, lpips
from emoji_jax.sampling import SamplerConfig

_NETWORKS = ("face_landmarker.task", fvd.WEIGHTS)
# What measures where a user has no weights of what papers report.
_SUBSTITUTES = {
    "arcface": (identity.WEIGHTS,),
    "alexnet": (lpips.WEIGHTS,),
    "hyperiqa": (brisque.MODEL, brisque.RANGES),
}
_PACKAGES = ("jax", "mediapipe", "numpy", "pillow")
# Of each kind of pairs; more make the page large.
_STRIPS, _STUDIED, _SHOWN = 4, 8, 6
Job = tuple[str, Pair]


class Evaluation:
    """Methods on a benchmark; what is measured lies in its folder, and is not measured again.

    Args:
      bench: the benchmark.
      out: folder for everything.
      checkpoint: name or folder, or "" for none.
      loading: what `Animator.load` takes.
      sampler: how to sample.
      seed: of the checkpoint's noise.
      baselines: whether to measure `methods.BASELINES`.
      preds: folders of other people's results by the method's name.
      own: weights that the user has.

    Raises:
      UserError: two methods of one name, or a folder with results of other settings.
    """

    def __init__(
        self,
        bench: Bench,
        out: Path,
        *,
        checkpoint: str,
        loading: dict[str, Any],
        sampler: SamplerConfig,
        seed: int,
        baselines: bool,
        preds: dict[str, Path],
        own: OwnWeights,
    ):
        self.bench, self._out, self._preds, self._sampler = bench, out, preds, sampler
        self._checkpoint, self._loading, self._own = checkpoint, loading, own
        self._seed = seed
        ours = [f"checkpoint {Path(checkpoint).name}"] if checkpoint else []
        self.methods = ours + [*methods.BASELINES][: None if baselines else 0] + [*preds]
        slugs = {_slug(method) for method in self.methods}
        if not self.methods or len(slugs) < len(self.methods):
            raise UserError(f"the methods are {self.methods}; expected some, with different names")
        self._networks = self._hashes()
        self._note()

    def _hashes(self) -> dict[str, str]:
        """Which network computes what."""
        networks = {name: assets.ASSETS[name].sha256 for name in _NETWORKS}
        for name, substitutes in _SUBSTITUTES.items():
            if path := getattr(self._own, name):
                networks[path.name] = _sha256([path])
            else:
                networks |= {s: assets.ASSETS[s].sha256 for s in substitutes}
        if self._checkpoint:
            folder = checkpoint.find(checkpoint.locate(self._checkpoint))
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            networks[self.methods[0]] = _sha256(files)
        return networks

    def _note(self) -> None:
        """Remembers the settings; measured with others, numbers would be mixed."""
        told = {
            "bench": self.bench.checksum,
            "networks": self._networks,
            "sampler": str(self._sampler),
            "seed": self._seed,
            "loading": str(self._loading),
        }
        path = self._out / "settings.json"
        if path.exists():
            if json.loads(path.read_text()) != told:
                raise UserError(
                    f"{self._out} has results of another benchmark, checkpoint or setting; "
                    "expected a new folder"
                )
            return
        write(path, json.dumps(told, indent=1) + "\n")

    def jobs(self, part: int = 0, parts: int = 1) -> list[Job]:
        """What a part has to measure still."""
        jobs = [(m, p) for m in self.methods for p in self.bench.pairs[part::parts]]
        return [job for job in jobs if not self._done(*job)]

    def _done(self, method: str, pair: Pair) -> bool:
        """Whether a result is measured, and still the same where others make it."""
        path = self._measured(method, pair)
        return path.exists() and json.loads(path.read_text())["result"] == self._print(method, pair)

    def _print(self, method: str, pair: Pair) -> str:
        """A fingerprint of somebody else's result; empty if it is not there."""
        folder = self._preds.get(method)
        file = folder and methods.find(folder, pair)
        if not file:
            return ""
        inside = sorted(file.rglob("*")) if file.is_dir() else [file]
        return _sha256([path for path in inside if path.is_file()])

    def missing(self) -> int:
        """How many results are not measured yet."""
        return len(self.jobs())

    def work(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Makes and measures results; yields each when it is written."""
        if not jobs:
            return
        measurement = Measurement(self.bench, self._own)
        try:
            for method in self.methods:
                pairs = [pair for m, pair in jobs if m == method]
                for pair, task, frames in self._results(method, pairs, measurement):
                    if isinstance(frames, UserError):
                        told = {"error": str(frames)}
                    else:
                        told = measurement.measure(task, frames)
                        self._keep(method, pair, frames)
                    told["result"] = self._print(method, pair)
                    write(self._measured(method, pair), json.dumps(told) + "\n")
                    yield method, pair
        finally:
            measurement.close()

    def _results(
        self, method: str, pairs: Sequence[Pair], measurement: Measurement
    ) -> Iterator[tuple[Pair, methods.Task, Clip | UserError]]:
        """A method's frames for some pairs, or why there are none."""
        if method in self._preds:
            for pair in pairs:
                try:
                    frames = methods.others(self._preds[method], self.bench, pair)
                except UserError as error:
                    frames = error
                yield pair, measurement.task(pair), frames
        elif method in methods.BASELINES:
            for pair in pairs:
                task = measurement.task(pair)
                yield pair, task, methods.BASELINES[method](task)
        elif pairs:
            animator = Animator.load(self._checkpoint, **self._loading)
            together = self._sampler.batch or animator.programs.devices
            for start in range(0, len(pairs), together):
                some = pairs[start : start + together]
                tasks = [measurement.task(pair) for pair in some]
                made = methods.animate(animator, tasks, self._sampler, self.bench.size, self._seed)
                yield from zip(some, tasks, made, strict=True)

    def _measured(self, method: str, pair: Pair) -> Path:
        return self._out / "measured" / _slug(method) / f"{pair.name}.json"

    def _kept(self, method: str, pair: Pair) -> Path:
        return self._out / "results" / _slug(method) / f"{pair.name}.png"

    def _keep(self, method: str, pair: Pair, frames: Clip) -> None:
        path = self._kept(method, pair)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_strip(path, frames)
        except OSError as error:
            raise UserError(f"{path} can't be written: {error.strerror}") from None

    def report(self, *, study: bool = False) -> int:
        """Writes what was found; returns how many results could not be measured."""
        rows = {
            method: {
                pair.name: json.loads(self._measured(method, pair).read_text())
                for pair in self.bench.pairs
            }
            for method in self.methods
        }
        columns = Measurement.columns_of(self._own)
        told = self._told(rows)
        values = {
            method: {
                kind: {
                    name: vars(v)
                    for name, column in columns.items()
                    if kind in column.kinds and (v := report.value(_of(some, kind), name))
                }
                for kind in ("self", "cross")
            }
            for method, some in rows.items()
        }
        told["columns"] = {name: vars(column) for name, column in columns.items()}
        told |= {"means": values, "pairs": rows}
        write(self._out / "results.json", json.dumps(told, indent=1) + "\n")
        write(self._out / "report.md", report.text(told, rows, columns))
        write(self._out / "report.html", report.page(told, rows, columns, self._strips(rows)))
        if study:
            self._write_study(rows)
        return sum("error" in row for some in rows.values() for row in some.values())

    def _told(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """What stands above all tables."""
        remarks = [
            f"{method}, {pair}: {row['error']}"
            for method, some in rows.items()
            for pair, row in some.items()
            if "error" in row
        ]
        guessed = {
            name
            for some in rows.values()
            for row in some.values()
            for name in row.get("guessed", ())
        }
        if guessed:
            told = ", ".join(sorted(guessed))
            remarks.append(f"drivers' frames without a face, taken as the frame before: {told}")
        videos = sum(pair.kind == "self" for pair in self.bench.pairs)
        pieces = videos * (self.bench.frames // fvd.LENGTH)
        if pieces < fvd.ENOUGH:
            remarks.append(
                f"FVD of {pieces} pieces of {fvd.LENGTH} frames: for the order of methods only; "
                f"below {fvd.ENOUGH} it grows with fewer."
            )
        if self.bench.name == mini.NAME and self.bench.checksum != mini.CHECKSUM:
            remarks.append(
                "This machine paints the synthetic people of the benchmark a little differently: "
                f"its checksum is not {mini.CHECKSUM[:16]}."
            )
        return {
            "benchmark": self.bench.name,
            "checksum": self.bench.checksum,
            "size": self.bench.size,
            "frames": self.bench.frames,
            "sampler": str(self._sampler),
            "seed": self._seed,
            "networks": self._networks,
            "versions": {n: importlib.metadata.version(n) for n in (*_PACKAGES, "emoji_jax")},
            "remarks": remarks,
            "strips": "Rows: the driver, then " + ", ".join(self.methods) + ".",
        }

    def _strips(self, rows: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
        """Of some pairs, some frames of the driver and of every result."""
        strips = {}
        for pair in self._some(rows, _STRIPS):
            driver = self.bench.clip(pair.driver)
            clips = [driver[1:], *(read_strip(self._kept(m, pair)) for m in self.methods)]
            at = np.linspace(0, len(clips[0]) - 1, _SHOWN).astype(int)
            portrait = self.bench.portrait(pair)
            lines = [np.concatenate([portrait, *clip[at]], 1) for clip in clips]
            strips[pair.name] = np.concatenate(lines)
        return strips

    def _some(self, rows: dict[str, dict[str, Any]], count: int) -> list[Pair]:
        """So many pairs of each kind, of which every method has a result."""
        found = []
        for kind in ("self", "cross"):
            whole = [
                pair
                for pair in self.bench.pairs
                if pair.kind == kind
                and all("error" not in some[pair.name] for some in rows.values())
            ]
            if whole:
                at = np.unique(np.linspace(0, len(whole) - 1, count).astype(int))
                found += [whole[i] for i in at]
        return found

    def _write_study(self, rows: dict[str, dict[str, Any]]) -> None:
        """The page that asks people, about cross-reenactment as in the paper."""
        cases = [
            (
                pair,
                self.bench.portrait(pair),
                self.bench.clip(pair.driver)[1:],
                {method: read_strip(self._kept(method, pair)) for method in self.methods},
            )
            for pair in self._some(rows, _STUDIED)
            if pair.kind == "cross"
        ]
        title = f"{self.bench.name}: which is best?"
        page = study.page(title, cases, seed=0, checksum=self.bench.checksum)
        write(self._out / "study.html", page)


def _of(rows: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for pair, row in rows.items() if pair.startswith(f"{kind}_")]


def _slug(method: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", method)


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise UserError(f"{file} can't be read: {error.strerror}") from None
    return digest.hexdigest()


def write(path: Path, text: str) -> None:
    """A file that appears when it is complete."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")  # other parts write, too
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from None
