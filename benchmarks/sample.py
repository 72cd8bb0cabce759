"""Sampling here and in PyTorch: the same networks, weights and steps, in one run on one machine.

python benchmarks/sample.py --compare torch --json
python benchmarks/sample.py --preset tiny --part clip --compare torch
python benchmarks/sample.py --part clip --dtype bfloat16 --compare torch compiled     (on a GPU)

A step is one call of the denoising UNet with motion modules, landmark features and a reference
portrait, without guidance. A clip is all of it: the portrait and the landmarks are encoded, all
steps denoise with guidance, and the frames are decoded. Weights are random, but for `tiny` the
bundled ones. The peer is `benchmarks/peer.py`; ours takes turns with each, so that a busy moment
hits both. The share is of a matrix product's speed in the same dtype, which takes its turn, too.

Everything is printed once it is known. The first time includes compiling, but for what earlier runs
left in the cache of compiled programs (`JAX_COMPILATION_CACHE_DIR=` switches that off).
"""

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import kernels
import numpy as np
import ours
from given import Given, Sampling
from peak import Product

from emoji_jax import compiled, diffusion
from emoji_jax.models.emoji import PRESETS
from emoji_jax.plan import CACHES
from emoji_jax.training.logs import peak_flops

# What makes numbers: called, it leaves them on the host.
Run = Callable[[], np.ndarray]
_OURS = "emoji_jax"


def main() -> None:
    """Measures what the arguments ask for and prints tables."""
    args = _arguments()
    compiled.remember()
    cfg = PRESETS[args.preset]()
    side = args.side or cfg.size[0] // cfg.vae.factor
    given = Given(cfg, args.frames or cfg.frames, side, args.dtype, args.part)
    cfg, what = given.cfg, [given]
    told = Told(args, f"{args.part} of {args.preset}, 1x{given.frames}x{side}x{side} latents")
    if args.part == "clip":
        scale = cfg.guidance_scale if args.guidance is None else args.guidance
        sampling = Sampling(args.sampler or cfg.sampler, args.steps or cfg.steps, scale, args.cache)
        told.numbers["what"] += f", {sampling}"
        what.append(sampling)
    own = getattr(ours, args.part)(*what)
    expected = told.first(_OURS, own.run)
    told.turns({_OURS: own.run})
    told.work(own.work())
    told.report()
    if own.stages:
        told.stages([own.stages() for _ in range(args.repeats)])
    if args.profile:
        kernels.tell(args.profile, own.run)
    truth = None
    if args.part == "step" and args.dtype != "float32":
        truth = ours.step(given.exactly()).run()
        told.differs(_OURS, "ours in fp32", expected, truth)
    if not args.compare:
        return
    runs = getattr(importlib.import_module("peer"), args.part)(*what)
    for name in args.compare:
        made = told.first(name, runs[name])
        told.differs(name, "ours", made, expected)
        if truth is not None:
            told.differs(name, "ours in fp32", made, truth)
        told.turns({_OURS: own.run, name: runs[name]})
        told.report()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", nargs="*", choices=["torch", "compiled"], default=[])
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--part", choices=["step", "clip"], default="step")
    parser.add_argument("--preset", choices=list(PRESETS), default="release")
    parser.add_argument("--frames", type=int, help="default: 2 in a step, else the preset's")
    parser.add_argument("--side", type=int, help="of the latents; default: 32, else the preset's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sampler", choices=list(diffusion.SAMPLERS), default="")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--cache", choices=list(CACHES), default="off", help="ours alone")
    parser.add_argument("--profile", type=Path, help="folder for a trace of ours")
    args = parser.parse_args()
    if args.part == "step" and args.preset != "tiny":
        args.frames, args.side = args.frames or 2, args.side or 32
    return args


class Told:
    """What is known so far; all of it is printed each time there is more."""

    def __init__(self, args: argparse.Namespace, what: str):
        self._args, self._product = args, Product(args.dtype)
        self._seconds: dict[str, list[float]] = {}
        self._rates: list[float] = []
        self.numbers: dict[str, Any] = {
            "what": f"{what}, {args.dtype}",
            "device": jax.devices()[0].device_kind,
            "cores": os.cpu_count(),
            "jax": jax.__version__,
            "promised_tflop_s": (peak_flops(jax.devices()[0]) or 0) / 1e12 or None,
            **{"seconds": {}, "first_s": {}, "peak_gb": None, "ratios": {}, "differences": {}},
        }

    def first(self, name: str, run: Run) -> np.ndarray:
        """What comes of a run, the first one."""
        start = time.perf_counter()
        made = run()
        self.numbers["first_s"][name] = time.perf_counter() - start
        self.numbers["peak_gb"] = self.numbers["peak_gb"] or compiled.peak_memory() / 1e9  # of ours
        print(f"{name}: {self.numbers['first_s'][name]:.1f} s the first time", flush=True)
        return made

    def turns(self, runs: Mapping[str, Run]) -> None:
        """Times runs in turns; the last one's ratio to ours is of these turns alone."""
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self._args.repeats):
            self._rates.append(self._product.rate())
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        for name, values in seconds.items():
            self._seconds.setdefault(name, []).extend(values)
            self.numbers["seconds"][name] = statistics.median(self._seconds[name])
            if name != _OURS:
                self.numbers["ratios"][name] = medians[name] / medians[_OURS]
                self.numbers["ratio"] = min(self.numbers["ratios"].values())
        print(", ".join(f"{name} {value:.3f} s" for name, value in medians.items()), flush=True)

    def work(self, stages: dict[str, float]) -> None:
        """Operations of ours."""
        self.numbers["tflop"] = sum(stages.values()) / 1e12
        self.numbers["stages"] = {n: {"tflop": work / 1e12} for n, work in stages.items()}

    def stages(self, seconds: list[dict[str, float]]) -> None:
        """Prints what ours spends its time on."""
        for name, told in self.numbers["stages"].items():
            told["seconds"] = statistics.median(one[name] for one in seconds)
            print(f"  {name:10} {_row(told['tflop'], told['seconds'], self._peak)}")
        self._end()

    def differs(self, name: str, other: str, made: np.ndarray, expected: np.ndarray) -> None:
        """Prints by how much at most, as a part of the largest number."""
        difference = np.abs(made.astype(np.float32) - expected).max() / np.abs(expected).max()
        self.numbers["differences"][f"{name} to {other}"] = float(difference)
        print(f"{name}: differs from {other} by {difference:.1e} of the largest number", flush=True)

    @property
    def _peak(self) -> float:
        return statistics.median(self._rates) / 1e12

    def report(self) -> None:
        """Prints the table."""
        numbers, tflop = self.numbers, self.numbers["tflop"]
        numbers["product_tflop_s"] = self._peak
        print("{what}; {device}, {cores} cores, jax {jax}".format(**numbers))
        promised = numbers["promised_tflop_s"]
        print(
            f"{tflop:.3f} TFLOP; matrix products: {self._peak:.3f} TFLOP/s"
            + (f" of {promised:.0f} promised" if promised else "")
            + f"; {numbers['peak_gb']:.2f} GB at most"
        )
        for name, value in numbers["seconds"].items():
            ratio = numbers["ratios"].get(name)
            more = f"   {ratio:.2f} times ours" if ratio else ""
            print(f"{name:12} {_row(tflop, value, self._peak)}{more}")
        self._end()

    def _end(self) -> None:
        if self._args.json:
            print(json.dumps(self.numbers))
        print(end="", flush=True)


def _row(tflop: float, seconds: float, peak: float) -> str:
    rate = tflop / seconds
    return f"{seconds:8.3f} s   {rate:8.3f} TFLOP/s   {rate / peak:.0%} of matrix products' speed"


if __name__ == "__main__":
    main()
