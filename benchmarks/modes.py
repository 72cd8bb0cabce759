"""Quality against time: samplers, steps, guidance intervals, caches and a student, in one run.

python benchmarks/modes.py --checkpoint tiny --out modes [--student runs/tiny/distill/weights]

Pairs of EmojiBench-mini are made in every mode, one pair after another: a busy moment of the
machine hits all modes. Time is that of all work but detection: of encoding the portrait, drawing,
denoising, decoding and putting frames together; nothing is compiled in it. Writes `modes.json` and
`modes.png`, and prints the table.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from emoji_jax.animator import Animator
from emoji_jax.bench import methods, mini
from emoji_jax.bench.measure import Measurement
from emoji_jax.metrics.l1 import l1
from emoji_jax.sampling import SamplerConfig

MODES: dict[str, dict[str, Any]] = {
    "default": {"name": "", "steps": 0, "guidance_scale": None},
    **{f"ddim {n}": {"name": "ddim", "steps": n} for n in (30, 12, 8, 4)},
    **{f"dpmpp_2m {n}": {"name": "dpmpp_2m", "steps": n} for n in (20, 12, 8, 6, 4, 3, 2)},
    **{f"unipc {n}": {"name": "unipc", "steps": n} for n in (12, 8, 6, 4)},
    "guidance above 0.4": {"guidance_interval": (0.4, 1.0)},
    "guidance below 0.8": {"guidance_interval": (0.0, 0.8)},
    "no guidance": {"guidance_scale": 1.0},
    "no guidance, 4 steps": {"guidance_scale": 1.0, "steps": 4},
    "no guidance, 2 steps": {"guidance_scale": 1.0, "steps": 2},
    "safe": {"cache": "safe"},
    "fast": {"cache": "fast"},
    "safe, 20 steps": {"cache": "safe", "steps": 20},
    "fast, 20 steps": {"cache": "fast", "steps": 20},
    "unipc 8, safe": {"name": "unipc", "steps": 8, "cache": "safe"},
}
# Of a student, which is another checkpoint.
STUDENT: dict[str, dict[str, Any]] = {f"student {n}": {"steps": n} for n in (8, 4, 2, 1)}
# What modes do not say.
OTHERWISE = {"name": "dpmpp_2m", "steps": 12, "guidance_scale": 1.5}
# What all others are compared with: more steps change nothing that is seen.
BEST = {"steps": 60}
COLUMNS = ("l1", "lpips", "accuracy", "expression", "identity", "jitter")


def main() -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--student", help="what was distilled from it (configs/distill.py)")
    parser.add_argument("--pairs", type=int, default=12, help="half of them cross-reenactment")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    parser.add_argument("--keep", type=float, help="sampler.keep; 0 hides nothing")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    animator, bench = Animator.load(args.checkpoint), mini.fetch()
    student = Animator.load(args.student) if args.student else None
    modes = {"best": OTHERWISE | BEST, **{n: OTHERWISE | MODES[n] for n in args.modes}}
    modes |= STUDENT if student else {}
    measurement = Measurement(bench)
    kinds = [[pair for pair in bench.pairs if pair.kind == kind] for kind in ("self", "cross")]
    pairs = [pair for both in zip(*kinds, strict=False) for pair in both][: args.pairs]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in modes}
    for number, pair in enumerate(pairs):
        task = measurement.task(pair)
        best = None
        for name, options in modes.items():
            config, used = SamplerConfig(keep=args.keep, **options), animator
            if student and name in STUDENT:
                used = student
            for _ in range(1 if number else 2):  # the first time compiles
                start = time.perf_counter()
                (frames,) = methods.animate(used, [task], config, bench.size, seed=0)
                seconds = time.perf_counter() - start
            best = frames if best is None else best
            row = {"seconds": seconds, "change": float(l1(frames, best).mean())}
            rows[name].append(row | measurement.measure(task, frames))
        told = {name: summary(some) for name, some in rows.items()}
        (args.out / "modes.json").write_text(json.dumps(told, indent=1) + "\n")
        print(f"{number + 1} of {len(pairs)} pairs", flush=True)
    measurement.close()
    print("\n".join(table(told)))
    plot(told).save(args.out / "modes.png")


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over pairs, of what each kind of pair has; the median of seconds."""
    told = {"seconds": float(np.median([row["seconds"] for row in rows]))}
    for name in ("change", *COLUMNS):
        values = [row[name] for row in rows if row.get(name) is not None]
        told[name] = float(np.mean(values)) if values else float("nan")
    return told


def table(told: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Markdown, the slowest first."""
    lines = [f"| mode | s | change | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for name, row in sorted(told.items(), key=lambda item: -item[1]["seconds"]):
        cells = [f"{row[column]:.4f}" for column in ("change", *COLUMNS)]
        lines.append(f"| {name} | {row['seconds']:.2f} | {' | '.join(cells)} |")
    return lines


def plot(told: Mapping[str, Mapping[str, float]]) -> Image.Image:
    """Two quantities against seconds: difference to the best, and LPIPS to the truth."""
    halves = [
        _panel(told, "change", "mean difference to 60 steps"),
        _panel(told, "lpips", "LPIPS to the true frames"),
    ]
    return Image.fromarray(np.concatenate([np.asarray(half) for half in halves], 1))


def _panel(
    told: Mapping[str, Mapping[str, float]],
    column: str,
    title: str,
    size: tuple[int, int] = (760, 600),
) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, "white")
    draw, some = ImageDraw.Draw(image), {n: r for n, r in told.items() if r[column] > 0}
    x = np.log([row["seconds"] for row in some.values()])
    y = np.array([row[column] for row in some.values()])
    left, right, top, bottom = 60, width - 190, 50, height - 60

    def across(value: float) -> float:
        return left + (np.log(value) - x.min()) / max(np.ptp(x), 1e-9) * (right - left)

    def down(value: float) -> float:
        return bottom - (value - y.min()) / max(np.ptp(y), 1e-9) * (bottom - top)

    draw.text((left, 12), f"{title}; lower is better", fill="black")
    draw.text((right - 90, height - 22), "seconds (log)", fill="black")
    for value in np.linspace(y.min(), y.max(), 5):
        draw.line((left - 12, down(value), right, down(value)), fill="lightgrey")
        draw.text((4, down(value) - 6), f"{value:.4f}", fill="black")
    for value in np.geomspace(np.exp(x.min()), np.exp(x.max()), 6):
        draw.text((across(value) - 8, bottom + 14), f"{value:.1f}", fill="black")
    taken: list[float] = []
    for name, row in sorted(some.items(), key=lambda item: item[1][column]):
        place = across(row["seconds"]), down(row[column])
        # Names that would lie over each other move down a line.
        line = place[1] - 6
        while any(abs(line - other) < 12 for other in taken):
            line -= 3
        taken.append(line)
        draw.ellipse((place[0] - 4, place[1] - 4, place[0] + 4, place[1] + 4), fill="black")
        draw.line((place[0], place[1], place[0] + 10, line + 6), fill="grey")
        draw.text((place[0] + 12, line), name, fill="black")
    return image


if __name__ == "__main__":
    main()
