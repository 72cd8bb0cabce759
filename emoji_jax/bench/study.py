"""A user study: one page that asks people, and what they answered (table 1's last columns)."""

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emoji_jax import json_file
from emoji_jax.bench.folder import Clip, Pair
from emoji_jax.errors import UserError
from emoji_jax.images import Picture

QUESTIONS = {
    "expression": "Which follows the expression of the driving video best?",
    "identity": "In which is the face most like the portrait?",
    "overall": "Which is the best video?",
}
_FORMAT = "emoji_jax study 2"


def page(
    title: str,
    cases: Sequence[tuple[Pair, Picture, Clip, Mapping[str, Clip]]],
    seed: int,
    checksum: str,
) -> str:
    """One file that works without a network: clips side by side, unnamed and in random order.

    Args:
      title: of the page.
      cases: of each pair its portrait, its driver, and each method's result.
      seed: of the order of methods, which is another in each case and for each visitor.
      checksum: of the benchmark; with the clips, it tells studies apart.

    Raises:
      UserError: there is nothing to ask about, or nothing to compare.
    """
    if not cases:
        raise UserError("no study: there is no cross-reenactment that every method has made")
    methods = sorted({method for *_, results in cases for method in results})
    if len(methods) < 2:
        raise UserError(f"a study compares methods, and there is {methods or 'none'}")
    told = [
        {
            "pair": pair.name,
            "portrait": _data([portrait]),
            "driver": _data(driver),
            # Numbers, not names: who looks into the page's source learns little.
            "clips": [_data(results[method]) for method in methods],
        }
        for pair, portrait, driver, results in cases
    ]
    filled = {
        "format": _FORMAT,
        "study": _identity(checksum, methods, cases),
        "methods": [base64.b64encode(m.encode()).decode() for m in methods],
        "questions": QUESTIONS,
        "seed": seed,
        "cases": told,
    }
    # "</" would end the script.
    data = json.dumps(filled).replace("</", "<\\/")
    page = Path(__file__).with_name("study.html").read_text()
    return page.replace("TITLE", html.escape(title)).replace('"DATA"', data)


def _identity(
    checksum: str,
    methods: Sequence[str],
    cases: Sequence[tuple[Pair, Picture, Clip, Mapping[str, Clip]]],
) -> str:
    """A hash of what is shown: answers about other clips, as of another checkpoint, are others."""
    digest = hashlib.sha256(checksum.encode())
    for pair, portrait, driver, results in cases:
        digest.update(pair.name.encode())
        for pixels in (portrait, driver, *(results[method] for method in methods)):
            digest.update(pixels.tobytes())
    return digest.hexdigest()


def _data(frames: Sequence[Picture] | Clip) -> str:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=80, loop=0, quality=85)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def aggregate(files: Sequence[Path]) -> dict[str, Any]:
    """Mean ranks by method and question, 1 the best, with 95 % intervals by drawing people anew.

    Raises:
      UserError: a file that no study's page made, or answers of different studies.
    """
    answers = [_read(file) for file in files]
    studies = {(answer["study"], tuple(answer["methods"])) for answer in answers}
    if len(studies) != 1:
        raise UserError(
            f"the {len(files)} files are answers of {len(studies)} studies; expected one"
        )
    if len({answer["visit"] for answer in answers}) < len(answers):
        raise UserError("two files are of the same visit; expected each person's answers once")
    means = {
        method: {
            question: found
            for question in QUESTIONS
            if (found := _rank(answers, method, question)) is not None
        }
        for method in answers[0]["methods"]
    }
    return {"study": answers[0]["study"], "people": len(files), "ranks": means}


def _rank(answers: Sequence[Mapping[str, Any]], method: str, question: str) -> dict | None:
    """Mean rank and interval; one person's answers are not independent, so people are drawn.

    One person says nothing about others: there is no interval.
    """
    given = [
        [case["ranks"][method] for case in answer["answers"] if case["question"] == question]
        for answer in answers
    ]
    sums, counts = np.array([sum(g) for g in given]), np.array([len(g) for g in given])
    if not counts.sum():
        return None
    low = high = None
    if (counts > 0).sum() > 1:
        draws = np.random.default_rng(0).integers(len(given), size=(1000, len(given)))
        drawn = counts[draws].sum(1)
        ranks = (sums[draws].sum(1) / drawn.clip(1))[drawn > 0]
        low, high = map(float, np.quantile(ranks, [0.025, 0.975]))
    rank = float(sums.sum() / counts.sum())
    return {"rank": rank, "low": low, "high": high, "answers": int(counts.sum())}


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json_file.read(file)
        methods, places = told["methods"], list(range(1, len(told["methods"]) + 1))
        right = told["format"] == _FORMAT and isinstance(told["study"], str)
        right = right and isinstance(told["visit"], int)
        right = right and all(isinstance(method, str) for method in methods)
        right = right and all(
            case["question"] in QUESTIONS
            and sorted(case["ranks"]) == sorted(methods)
            and sorted(case["ranks"].values()) == places
            for case in told["answers"]
        )
        if not right:
            raise ValueError
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} holds no answers of a study") from None
    return told


def table(found: Mapping[str, Any]) -> list[list[str]]:
    """Head and rows, as `report.markdown` takes them."""
    lines = [["method", *(f"{question} ↓" for question in QUESTIONS)]]
    for method, by_question in found["ranks"].items():
        lines.append([method, *(_cell(by_question.get(question)) for question in QUESTIONS)])
    return lines


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    bounds = "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['rank']:.2f}{bounds}"
