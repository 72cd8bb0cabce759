"""A whole evaluation: every method on every pair, measured once, and what comes of it."""

import functools
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import emoji_jax
from emoji_jax import assets, checkpoint
from emoji_jax.animator import Animator
from emoji_jax.bench import methods, mini, record, report, study
from emoji_jax.bench.folder import Bench, Clip, Pair, read_strip, save_strip
from emoji_jax.bench.measure import Measurement, OwnWeights
from emoji_jax.errors import UserError
from emoji_jax.metrics import brisque, fvd, identity, lpips
from emoji_jax.sampling import SamplerConfig

# Of each column: which weights a user may have for it, what belongs to these, and what measures
# without them.
_NETWORKS: dict[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "landmarks": ("", (), ("face_landmarker.task",)),
    "fvd": ("", (), (fvd.WEIGHTS,)),
    "lpips": ("alexnet", (lpips.HEADS,), (lpips.WEIGHTS,)),
    "identity": ("arcface", (), (identity.WEIGHTS,)),
    "quality": ("hyperiqa", (), (brisque.MODEL, brisque.RANGES)),
}
_PACKAGES = ("jax", "mediapipe", "numpy", "pillow")
# Of each kind of pairs; more make the page large.
_STRIPS, _STUDIED, _SHOWN = 4, 8, 6
Job = tuple[str, Pair]
Maker = Callable[[Sequence[methods.Task]], Iterator[Clip | UserError]]


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
      study: whether to write the page that asks people, too.

    Raises:
      UserError: two methods of one name, fewer than a study compares, or a folder with results of
        other settings.
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
        study: bool = False,
    ):
        self.bench, self._out, self._preds, self._sampler = bench, out, preds, sampler
        self._checkpoint, self._loading, self._own = checkpoint, loading, own
        self._seed, self._study = seed, study
        ours = [f"checkpoint {Path(checkpoint).name}"] if checkpoint else []
        self.methods = ours + [*methods.BASELINES][: None if baselines else 0] + [*preds]
        slugs = {_slug(method) for method in self.methods}
        if not self.methods or len(slugs) < len(self.methods):
            raise UserError(f"the methods are {self.methods}; expected some, with different names")
        if study and len(self.methods) < 2:
            raise UserError(f"a study compares methods; there is only {self.methods[0]}")
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        self._versions = versions | {"emoji_jax": emoji_jax.__version__}
        self._networks = self._hashes()
        self._note(begin=False)

    def _hashes(self) -> dict[str, str]:
        """SHA-256 of every network, by the column that it measures and its file's name."""
        networks = {}
        for column, (own, beside, without) in _NETWORKS.items():
            path = getattr(self._own, own) if own else None
            if path:
                networks[f"{column}: {path.name}"] = record.sha256(path)
            names = beside if path else without
            networks |= {f"{column}: {name}": assets.ASSETS[name].sha256 for name in names}
        if self._checkpoint:
            folder = checkpoint.find(checkpoint.locate(self._checkpoint))
            networks[self.methods[0]] = record.fingerprint([folder])
        return networks

    def _settings(self) -> dict[str, Any]:
        """Measured with others, numbers would be mixed."""
        return {
            "bench": self.bench.checksum,
            "networks": self._networks,
            "sampler": str(self._sampler),
            "seed": self._seed,
            "loading": str(self._loading),
            "versions": self._versions,
        }

    def _note(self, *, begin: bool) -> None:
        """Refuses a folder of other settings; notes those of now where results shall come."""
        path, told = self._out / "settings.json", self._settings()
        what = "results of another benchmark, checkpoint, setting or version"
        record.refuse_others(path, told, what)
        if begin and not path.exists():
            record.write(path, json.dumps(told, indent=1) + "\n")

    def jobs(self, part: int = 0, parts: int = 1) -> list[Job]:
        """What a part has to measure still."""
        jobs = [(m, p) for m in self.methods for p in self.bench.pairs[part::parts]]
        return [job for job in jobs if not self._done(*job)]

    def _done(self, method: str, pair: Pair) -> bool:
        """Whether a result is measured, and still the same where others make it."""
        path = self._measured(method, pair)
        return path.exists() and record.read(path).get("result") == self._print(method, pair)

    def _print(self, method: str, pair: Pair) -> str:
        """A fingerprint of somebody else's result; empty if it is not there."""
        folder = self._preds.get(method)
        found = methods.find(folder, pair) if folder else []
        return record.fingerprint(found) if found else ""

    def missing(self) -> int:
        """How many results are not measured yet."""
        return len(self.jobs())

    def work(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Makes and measures results; yields each when it is written."""
        if not jobs:
            return
        measurement = Measurement(self.bench, self._own)
        try:
            makers = {method: self._maker(method) for method in dict(jobs)}
            self._note(begin=True)  # all weights are read: what is wrong with them is told before
            for method, (make, together) in makers.items():
                pairs = [pair for m, pair in jobs if m == method]
                for pair, task, frames in _results(pairs, measurement, make, together):
                    if task is None or isinstance(frames, UserError):
                        told = {"error": str(frames)}
                    else:
                        told = measurement.measure(task, frames)
                        self._keep(method, pair, frames)
                    told["result"] = self._print(method, pair)
                    record.write(self._measured(method, pair), json.dumps(told) + "\n")
                    yield method, pair
        finally:
            measurement.close()

    def _maker(self, method: str) -> tuple[Maker, int]:
        """What makes a method's results of some tasks, and of how many together."""
        if method in self._preds:
            return functools.partial(methods.others, self._preds[method], self.bench), 1
        if method in methods.BASELINES:
            return functools.partial(map, methods.BASELINES[method]), 1
        animator = Animator.load(self._checkpoint, **self._loading)
        make = functools.partial(
            methods.animate,
            animator,
            sampler=self._sampler,
            size=self.bench.size,
            seed=self._seed,
        )
        return make, self._sampler.together(animator.programs.devices)

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

    def report(self) -> int:
        """Writes what was found; returns how many results could not be measured.

        Raises:
          UserError: it can't be written, or the study has nothing to ask about.
        """
        rows = {
            m: {pair.name: record.read(self._measured(m, pair)) for pair in self.bench.pairs}
            for m in self.methods
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
        page = report.page(told, rows, columns, self._strips(rows))
        record.write(self._out / "results.json", json.dumps(told, indent=1) + "\n")
        record.write(self._out / "report.md", report.text(told, rows, columns))
        record.write(self._out / "report.html", page)
        if self._study:
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
            "versions": self._versions,
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
        record.write(self._out / "study.html", page)


def _of(rows: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for pair, row in rows.items() if pair.startswith(f"{kind}_")]


def _results(
    pairs: Sequence[Pair], measurement: Measurement, make: Maker, together: int
) -> Iterator[tuple[Pair, methods.Task | None, Clip | UserError]]:
    """A method's frames for some pairs, or why there are none."""
    for start in range(0, len(pairs), together):
        tasks = []
        for pair in pairs[start : start + together]:
            try:
                tasks.append(measurement.task(pair))
            except UserError as error:
                yield pair, None, error
        if tasks:
            made = zip(tasks, make(tasks), strict=True)
            yield from ((task.pair, task, frames) for task, frames in made)


def _slug(method: str) -> str:
    """A name for its files; where it is not the method's own, no other method's either."""
    plain = re.sub(r"^\.+|[^A-Za-z0-9.-]+", "_", method)
    if plain == method:
        return plain
    return f"{plain}-{hashlib.sha256(method.encode()).hexdigest()[:8]}"
