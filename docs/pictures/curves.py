"""Draws the curves of training runs, one panel each.

python docs/pictures/curves.py runs/vae runs/stage1 runs/stage2 --out curves.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# What is drawn of a run, if its log has it: of the training steps, and of held-out clips.
CURVES = ("loss_l1", "loss_ldm", "loss_ffg")


def main() -> None:
    """Writes one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    figure, _ = pyplot.subplots(1, len(args.runs), figsize=(4 * len(args.runs), 3))
    for run, panel in zip(args.runs, figure.axes, strict=True):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for colour, name in enumerate(CURVES):
            for prefix, style in (("", "-"), ("validation_", "o--")):
                found = [(m["step"], m[prefix + name]) for m in lines if prefix + name in m]
                if found:
                    alpha = 1.0 if prefix else 0.5
                    label = f"{prefix}{name}".replace("_", " ")
                    panel.plot(
                        *zip(*found, strict=True), style, color=f"C{colour}", alpha=alpha,
                        label=label, markersize=3,
                    )  # fmt: skip
        panel.set(title=run.name, xlabel="step", yscale="log")
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
