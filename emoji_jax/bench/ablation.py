"""Table 2 of the paper (arXiv 2406.01900), ours beside it."""

import json
from pathlib import Path

FULL = "full"
# L1, SSIM, LPIPS, FVD, identity, image quality, landmark accuracy in percent.
PAPER = {
    "no_expression_mask": (0.037, 0.702, 0.159, 147.4, 0.576, 53.792, 26.87),
    "no_face_mask": (0.036, 0.721, 0.157, 149.3, 0.548, 50.992, 34.21),
    "no_progressive": (0.035, 0.718, 0.141, 138.8, 0.632, 52.108, 35.32),
    "raw_landmarks": (0.039, 0.715, 0.166, 144.1, 0.521, 50.829, 17.45),
    "contour": (0.034, 0.784, 0.153, 128.5, 0.627, 59.781, 38.71),
    "no_pupils": (0.035, 0.762, 0.147, 103.2, 0.648, 61.436, 33.58),
    FULL: (0.029, 0.849, 0.136, 96.8, 0.702, 66.287, 39.16),
}
"""Table 2; its arrow at landmark accuracy points down, its text and table 1 say up."""

# Of each of its columns: which kind of pairs, our name, and whether more is better there and here.
COLUMNS = {
    "L1": ("self", "l1", False, False),
    "SSIM": ("self", "ssim", True, True),
    "LPIPS": ("self", "lpips", False, False),
    "FVD": ("self", "fvd", False, False),
    "identity": ("cross", "identity", True, True),
    "quality": ("cross", "quality", True, False),
    "landmarks": ("cross", "accuracy", True, True),
}


def means(path: Path) -> dict[str, float]:
    """Of each of the table's columns what a row measured, NaN where nothing."""
    (method,) = json.loads(path.read_text())["means"].values()
    found = {}
    for column, (kind, name, *_) in COLUMNS.items():
        value = method[kind].get(name)
        found[column] = value["mean"] if value else float("nan")
    return found


def table(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Ours and the paper's, and of each row how it changes what the full model measures.

    "worse" and "better" are against the full model; both of a pair should say the same.
    """
    lines = [["row", *(f"{name}: ours, the paper's" for name in COLUMNS)]]
    for row, ours in found.items():
        cells = []
        for i, (name, (*_, paper_more, our_more)) in enumerate(COLUMNS.items()):
            mine = _side(ours[name], found[FULL][name], our_more)
            theirs = _side(PAPER[row][i], PAPER[FULL][i], paper_more)
            same = "" if row == FULL else (" ✓" if mine == theirs else " ✗")
            cells.append(f"{ours[name]:.3g} {mine}, {PAPER[row][i]:g} {theirs}{same}")
        lines.append([row, *cells])
    return lines


def _side(value: float, full: float, more: bool) -> str:
    if value == full or value != value:
        return ""
    return "better" if (value > full) == more else "worse"
