"""What was measured, as numbers with their uncertainty, as text and as a page."""

import base64
import dataclasses
import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from emoji_jax.bench.measure import THRESHOLDS, Column
from emoji_jax.metrics.fvd import frechet

Rows = Mapping[str, Mapping[str, Any]]
"""Of each pair's name, what was measured."""
Columns = Mapping[str, Column]
_DRAWS = 1000
_FVD_DRAWS = 100

PAPER = {
    "Face Vid2vid": (0.042, 0.801, 0.244, 228.9, 0.627, 39.568, 6.12, 6.46, 7.81, 5.92),
    "DaGAN": (0.063, 0.717, 0.297, 264.7, 0.306, 38.182, 1.58, 7.17, 6.82, 7.33),
    "TPS": (0.037, 0.824, 0.208, 190.5, 0.522, 36.938, 17.42, 4.97, 4.52, 4.87),
    "MCNet": (0.031, 0.837, 0.193, 208.1, 0.412, 33.981, 18.63, 5.52, 5.31, 5.92),
    "FADM": (0.045, 0.701, 0.268, 187.4, 0.679, 33.496, 3.95, 3.16, 3.78, 3.86),
    "MagicDance": (0.043, 0.752, 0.158, 133.6, 0.681, 58.943, 35.62, 2.58, 2.62, 2.75),
    "AniPortrait": (0.030, 0.834, 0.132, 100.3, 0.693, 60.287, 38.72, 1.47, 1.62, 1.83),
    "Follow-Your-Emoji": (0.029, 0.849, 0.136, 96.8, 0.702, 66.287, 39.16, 1.26, 1.45, 1.72),
}
"""Table 1: L1, SSIM, LPIPS, FVD, identity, HyperIQA, landmark accuracy in percent, and the mean
ranks that people gave by expression, identity and overall."""
_PAPER_HEAD = (
    *("L1 ↓", "SSIM ↑", "LPIPS ↓", "FVD ↓"),
    *("ID similarity ↑", "image quality ↑", "landmark accuracy, % ↑"),
    *("people: expression ↓", "people: identity ↓", "people: overall ↓"),
)
STUDIED = slice(7, None)
"""Which of these columns people were asked for."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A mean over pairs, the bounds of its 95 % interval, and of how many pairs it is.

    One pair says nothing about others: there are no bounds.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def value(rows: Sequence[Mapping[str, Any]], name: str) -> Value | None:
    """A column's mean over some pairs, with bounds by drawing the pairs anew (bootstrap)."""
    if name == "fvd":
        return _fvd(rows)
    known = [row[name] for row in rows if row.get(name) is not None]
    if not known:
        return None
    draws = np.random.default_rng(0).integers(len(known), size=(_DRAWS, len(known)))
    return _value(float(np.mean(known)), np.array(known)[draws].mean(1), len(known))


def _fvd(rows: Sequence[Mapping[str, Any]]) -> Value | None:
    known = [row for row in rows if len(row.get("features", ()))]
    sets = [(np.array(row["features"]), np.array(row["truth"])) for row in known]
    if sum(len(made) for made, _ in sets) < 2:
        return None

    def distance(chosen: Iterable[int]) -> float:
        made, truth = map(np.concatenate, zip(*(sets[i] for i in chosen), strict=True))
        return frechet(made, truth, warn=False)

    rng = np.random.default_rng(0)
    chosen = (rng.integers(len(sets), size=len(sets)).tolist() for _ in range(_FVD_DRAWS))
    draws = np.array([distance(some) for some in chosen])
    mean = distance(range(len(sets)))
    # Sets with some videos twice have fewer directions, and are farther apart, all of them.
    return _value(mean, draws - draws.mean() + mean, len(sets))


def _value(mean: float, draws: np.ndarray, count: int) -> Value:
    if count < 2:
        return Value(mean, None, None, count)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Value(mean, float(low), float(high), count)


def table(measured: Mapping[str, Rows], columns: Columns, kind: str) -> list[list[str]]:
    """Head and rows: of each method, each column of a kind of pairs."""
    names = [name for name, column in columns.items() if kind in column.kinds]
    head = ["method", *(_heading(columns[name]) for name in names)]
    lines = [head]
    for method, rows in measured.items():
        some = [row for pair, row in rows.items() if pair.startswith(f"{kind}_")]
        found = [value(some, name) for name in names]
        lines.append([method, *(_cell(v, len(some)) for v in found)])
    return lines


def _heading(column: Column) -> str:
    return f"{column.heading} {'↑' if column.more else '↓'}"


def _cell(v: Value | None, pairs: int) -> str:
    """A value with its interval, and of how many pairs it is where it is not of all."""
    if v is None:
        return "-"
    digits = 1 if abs(v.mean) >= 10 else 3
    notes = []
    if v.low is not None:
        notes.append(f"{v.low:.{digits}f} to {v.high:.{digits}f}")
    if v.count < pairs:
        notes.append(f"{v.count} of {pairs} pairs")
    return f"{v.mean:.{digits}f}" + (f" ({', '.join(notes)})" if notes else "")


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *rows = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])


def paper(columns: slice = slice(None)) -> list[list[str]]:
    """The paper's rows, or some columns of them."""
    return [
        ["method", *_PAPER_HEAD[columns]],
        *([name, *(f"{n:g}" for n in numbers[columns])] for name, numbers in PAPER.items()),
    ]


def text(
    told: Mapping[str, Any], measured: Mapping[str, Rows], columns: Mapping[str, Column]
) -> str:
    """`report.md`."""
    parts = [f"# {told['benchmark']}", *_remarks(told)]
    for kind, name in (("self", "Self-reenactment"), ("cross", "Cross-reenactment")):
        parts += [f"## {name}", markdown(table(measured, columns, kind))]
    parts += ["## The paper's", _NOT_COMPARABLE, markdown(paper())]
    parts += ["## Networks", "\n".join(f"- {k}: `{v}`" for k, v in told["networks"].items())]
    return "\n\n".join(parts) + "\n"


_NOT_COMPARABLE = (
    "Table 1 of arXiv 2406.01900, on its own benchmark, with other networks and an unknown "
    "threshold: for the order of things, not to compare digits."
)


def _remarks(told: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Benchmark `{told['checksum'][:16]}`, {told['size']} x {told['size']} pixels, "
        f"{told['frames']} frames of each clip. In brackets the 95 % interval of the mean over "
        "pairs.",
        "Identity and all that landmarks say are means over frames in which a face is found: a "
        'frame without one lowers "faces found" and nothing else.',
    ]
    return lines + [f"**{remark}**" for remark in told["remarks"]]


def page(
    told: Mapping[str, Any],
    measured: Mapping[str, Rows],
    columns: Mapping[str, Column],
    strips: Mapping[str, np.ndarray],
) -> str:
    """`report.html`: one file with tables, curves, and a strip of pictures for some pairs."""
    parts = [f"<h1>{html.escape(told['benchmark'])}</h1>"]
    plain = (line.replace("*", "").replace("`", "") for line in _remarks(told))
    parts += [f"<p>{html.escape(line)}</p>" for line in plain]
    for kind, name in (("self", "Self-reenactment"), ("cross", "Cross-reenactment")):
        parts += [f"<h2>{name}</h2>", _table(table(measured, columns, kind))]
        parts.append(_curves(measured, kind))
    parts += ["<h2>The paper's</h2>", f"<p>{html.escape(_NOT_COMPARABLE)}</p>", _table(paper())]
    parts.append("<h2>Pictures</h2><p>" + html.escape(told["strips"]) + "</p>")
    for name, strip in strips.items():
        parts.append(
            f"<h3>{html.escape(name)}</h3><img alt='{html.escape(name)}' src='{_data(strip)}'>"
        )
    networks = "".join(
        f"<li>{html.escape(k)}: <code>{html.escape(str(v))}</code></li>"
        for k, v in told["networks"].items()
    )
    parts.append(f"<h2>Networks</h2><ul>{networks}</ul>")
    return _PAGE.replace("TITLE", html.escape(told["benchmark"])).replace("BODY", "\n".join(parts))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TITLE</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1em 0 }
td, th { border-bottom: 1px solid #8886; padding: .3em .8em; text-align: left; white-space: nowrap }
img { max-width: 100%; image-rendering: auto }
svg { max-width: 560px; display: block }
:root { color-scheme: light dark }
</style>
BODY
</html>
"""


def _table(lines: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    head, *rows = lines
    return f"<table>{row(head, 'th')}{''.join(row(r, 'td') for r in rows)}</table>"


def _data(frame: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _curves(measured: Mapping[str, Rows], kind: str) -> str:
    """Landmark accuracy over the threshold, a line for each method."""
    colours = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
    apart = min(18.0, 220 / len(measured))
    place: tuple[Callable[[float], float], Callable[[float], float]] = (
        lambda x: 50 + 420 * x / THRESHOLDS[-1],
        lambda y: 260 - 240 * y,
    )
    drawn = []
    for i, (method, rows) in enumerate(measured.items()):
        # After as many lines as there are colours, dashed ones.
        colour, dashes = colours[i % len(colours)], 4 * (i // len(colours))
        curves = [
            row["curve"] for pair, row in rows.items() if pair.startswith(kind) and row.get("curve")
        ]
        if not curves:
            continue
        means = np.mean(curves, 0)
        points = " ".join(
            f"{place[0](t):.1f},{place[1](y):.1f}" for t, y in zip(THRESHOLDS, means, strict=True)
        )
        height = 245 - apart * len(drawn)
        drawn.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2' "
            f"stroke-dasharray='{dashes}'/>"
            f"<text x='300' y='{height:.0f}' fill='{colour}'>{html.escape(method)}</text>"
        )
    ticks = "".join(
        f"<text x='{place[0](t) - 10:.0f}' y='280' fill='currentColor'>{t:g}</text>"
        for t in (0.05, 0.1, 0.15, 0.2)
    ) + "".join(
        f"<text x='10' y='{place[1](y) + 4:.0f}' fill='currentColor'>{y:g}</text>"
        for y in (0, 0.5, 1)
    )
    return (
        "<svg viewBox='0 0 500 300' font-size='13' role='img'><title>Landmark accuracy over its "
        "threshold, in distances between the eyes</title>"
        "<path d='M50 20V260H470' fill='none' stroke='currentColor'/>"
        f"{ticks}{''.join(drawn)}<text x='150' y='298' fill='currentColor'>landmarks nearer than "
        "this</text></svg>"
    )
