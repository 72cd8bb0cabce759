"""Draws flow.svg, the data flow of docs/architecture.md: python docs/pictures/flow.py.

Boxes have their own ground and arrows are grey, so that it can be read on white and on black.
"""

from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 980, 640
# What a box is: a file, NumPy on the CPU, a network, a loop or loss.
_FILLS = {"file": "#fff3d6", "numpy": "#dff3e4", "net": "#dde6fb", "loop": "#fbe0e6"}
_LINES = {"file": "#c99a2e", "numpy": "#3f9a5b", "net": "#4a6bc5", "loop": "#c4496a"}

# Name: kind, left, top, width, title, what and where.
BOXES = {
    "portrait": ("file", 20, 40, 150, "portrait", "any picture"),
    "driver": ("file", 20, 330, 150, "driver", "video, picture, .npz"),
    "view": ("numpy", 215, 40, 150, "crop", "framing.py"),
    "detect": ("numpy", 20, 190, 150, "detect", "detect.py"),
    "time": ("numpy", 215, 330, 150, "detect, in time", "driver.py, timing.py"),
    "align": ("numpy", 215, 190, 150, "align, controls", "alignment.py"),
    "draw": ("numpy", 410, 190, 150, "draw", "render.py, warp.py"),
    "vae": ("net", 410, 40, 150, "encode", "vae.py, CLIP"),
    "appearance": ("net", 605, 40, 170, "appearance net", "+ Q-Former: keys, tokens"),
    "landmark": ("net", 605, 190, 170, "landmark encoder", "features [B F h w C]"),
    "unet": ("loop", 605, 330, 170, "denoise", "UNet, table, plan"),
    "disk": ("file", 410, 330, 150, "latents", "on disk, any length"),
    "decode": ("net", 820, 330, 140, "decode", "vae.py"),
    "paste": ("numpy", 820, 190, 140, "detail, paste", "detail.py, framing.py"),
    "out": ("file", 820, 40, 140, "video", "written as it is made"),
    "videos": ("file", 20, 500, 150, "your videos", "+ licence, identity"),
    "prepare": ("numpy", 215, 500, 150, "prepare, batches", "data/"),
    "samenets": ("net", 410, 500, 150, "same networks", "training/animation.py"),
    "loss": ("loop", 605, 500, 170, "L_LDM + L_FFG", "losses.py, eq. 1 and 2"),
    "checkpoint": ("file", 820, 500, 140, "checkpoint", "what sampling loads"),
}
_BOX = 62

# From, to: by which sides.
ARROWS = [
    ("portrait", "view", "rl"),
    ("view", "vae", "rl"),
    ("vae", "appearance", "rl"),
    ("portrait", "detect", "bt"),
    ("detect", "align", "rl"),
    ("driver", "time", "rl"),
    ("time", "align", "tb"),
    ("align", "draw", "rl"),
    ("draw", "landmark", "rl"),
    ("landmark", "unet", "bt"),
    ("disk", "unet", "rl"),
    ("unet", "disk", "lr"),
    ("unet", "decode", "rl"),
    ("decode", "paste", "tb"),
    ("paste", "out", "tb"),
    ("videos", "prepare", "rl"),
    ("prepare", "samenets", "rl"),
    ("samenets", "loss", "rl"),
    ("loss", "checkpoint", "rl"),
]


def _side(name: str, side: str) -> tuple[float, float]:
    _, left, top, width, *_ = BOXES[name]
    return {
        "l": (left, top + _BOX / 2),
        "r": (left + width, top + _BOX / 2),
        "t": (left + width / 2, top),
        "b": (left + width / 2, top + _BOX),
    }[side]


def box(name: str) -> str:
    """A rounded rectangle with two lines of text."""
    kind, left, top, width, title, what = BOXES[name]
    middle = left + width / 2
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{_BOX}" rx="9" '
        f'fill="{_FILLS[kind]}" stroke="{_LINES[kind]}" stroke-width="1.5"/>'
        f'<text x="{middle}" y="{top + 27}" class="title">{escape(title)}</text>'
        f'<text x="{middle}" y="{top + 46}" class="what">{escape(what)}</text>'
    )


def arrow(start: str, end: str, sides: str) -> str:
    """A line with a head."""
    (x0, y0), (x1, y1) = _side(start, sides[0]), _side(end, sides[1])
    return f'<path d="M{x0} {y0}L{x1} {y1}" marker-end="url(#head)"/>'


def main() -> None:
    """Writes flow.svg beside this file."""
    # Keys and values go round the landmark encoder.
    x, y = _side("appearance", "r")
    around = f'<path d="M{x} {y}h22v{272}h-22" marker-end="url(#head)"/>'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif">',
        "<title>Data flow of sampling, and of training</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#7d8799"/></marker></defs>',
        "<style>.title{font-size:14px;font-weight:600;fill:#1b2333;text-anchor:middle}"
        ".what{font-size:11.5px;fill:#48536b;text-anchor:middle}"
        ".head{font-size:13px;fill:#7d8799}.key{font-size:11.5px;fill:#7d8799}</style>",
        '<text x="20" y="24" class="head">Sampling</text>',
        '<text x="20" y="484" class="head">Training</text>',
        '<path d="M20 455H960" stroke="#7d8799" stroke-dasharray="3 5"/>',
        f'<g fill="none" stroke="#7d8799" stroke-width="1.6">{around}',
        *(arrow(*each) for each in ARROWS),
        "</g>",
        *(box(name) for name in BOXES),
    ]
    told = {
        "file": "files",
        "numpy": "NumPy",
        "net": "networks",
        "loop": "loop, loss",
    }
    for i, (kind, text) in enumerate(told.items()):
        left = 20 + 150 * i
        parts.append(
            f'<rect x="{left}" y="600" width="14" height="14" rx="3" fill="{_FILLS[kind]}" '
            f'stroke="{_LINES[kind]}"/><text x="{left + 21}" y="611" class="key">{text}</text>'
        )
    (Path(__file__).parent / "flow.svg").write_text("\n".join([*parts, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
