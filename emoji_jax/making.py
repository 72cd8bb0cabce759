"""Makes pairs of portraits and drivers, one bad one or many among them."""

import json
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from emoji_jax import animation, by_hand
from emoji_jax.animation import Animation
from emoji_jax.animator import Animator
from emoji_jax.driver import Driver, MotionConfig, read
from emoji_jax.errors import UserError, memory_wanted
from emoji_jax.pairs import Pair, configured
from emoji_jax.video_writer import check_path

# What tells one result from another.
_NAMED = ("ref", "driving", "out", "options")
# Motions that are remembered, for the next pair may have the same.
_DRIVERS_KEPT = 8
# A pair, what it will become or why it can't, and since when it is worked on.
_Begun = tuple[Pair, Animation | Exception, float]


def done(report: Path, wanted: Sequence[Pair]) -> list[dict[str, Any]]:
    """What an earlier run reports as done, as far as it is still there and still wanted."""
    if not report.exists():
        return []
    same = [json.loads(json.dumps(_told(pair))) for pair in wanted]
    try:
        lines = report.read_text().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # it was killed while it wrote
            lines.pop()
        results = [json.loads(line) for line in lines]
        made = [r for r in results if "error" not in r and (report.parent / r["out"]).exists()]
        return [r for r in made if {name: r[name] for name in _NAMED} in same]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{report} is damaged; start without --resume") from None


class Batch:
    """Makes pairs with one checkpoint, and as many at a time as fit one batch of windows.

    Args:
      animator: the checkpoint.
      out: folder of results.
      config: options of all pairs, as `configs/sample.py` has them.
      credentials: see `Animation.save`.

    Attributes:
      bugs: what went wrong that is no user's mistake.
    """

    def __init__(
        self,
        animator: Animator,
        out: Path,
        config: ml_collections.ConfigDict,
        *,
        credentials: bool = True,
    ):
        self._animator, self._out, self._config = animator, out, config
        self._credentials = credentials
        self._drivers: dict[tuple[str, MotionConfig], Driver] = {}
        self.bugs: list[Exception] = []

    def run(self, chosen: Sequence[Pair]) -> Iterator[dict[str, Any]]:
        """What became of each pair, in an order of its own."""
        for batch in animation.batches(self._prepared(chosen), _prepared):
            pair, found, _ = batch[0]
            if isinstance(found, Exception):
                yield self._failed(pair, found)
            else:
                yield from self._make(batch)

    def _prepared(self, chosen: Sequence[Pair]) -> Iterator[_Begun]:
        for pair in chosen:
            start = time.monotonic()
            try:
                yield pair, self._prepare(pair), start
            except Exception as error:
                yield pair, error, start

    def _prepare(self, pair: Pair) -> Animation:
        check_path(self._out / pair.out)
        given = configured(self._config, pair.options)
        key = (pair.driving, given["moving"])
        if key not in self._drivers:
            animator = self._animator
            if len(self._drivers) == _DRIVERS_KEPT:
                self._drivers.pop(next(iter(self._drivers)))
            self._drivers[key] = read(
                pair.driving, given["moving"], lambda: animator.detector, lambda *_: None
            )
        face = by_hand.read(pair.ref_landmarks, pair.ref) if pair.ref_landmarks else None
        prepared = self._animator(pair.ref, self._drivers[key], ref_landmarks=face, **given)
        check_path(self._out / pair.out, len(prepared))
        return prepared

    def _make(self, batch: list[_Begun]) -> Iterator[dict[str, Any]]:
        try:
            made = animation.denoised([one for one in map(_prepared, batch) if one is not None])
        except Exception as error:
            for pair, _, _ in batch:
                yield self._failed(pair, error)
            return
        for (pair, _, start), one in zip(batch, made, strict=True):
            try:
                one.save(self._out / pair.out, credentials=self._credentials)
            except Exception as error:
                yield self._failed(pair, error)
                continue
            seconds = round(time.monotonic() - start, 2)
            yield _told(pair, frames=len(one), seconds=seconds, notes=list(one.notes))

    def _failed(self, pair: Pair, error: Exception) -> dict[str, Any]:
        """What is told of a pair that could not be made; a bug stops no other pair either."""
        if isinstance(error, UserError):
            return _told(pair, error=str(error))
        if wanted := memory_wanted(error):
            return _told(pair, error=f"too little memory: {wanted}")
        traceback.print_exception(error)
        self.bugs.append(error)
        return _told(pair, error=f"a bug: {type(error).__name__}: {error}")


def _prepared(begun: _Begun) -> Animation | None:
    return begun[1] if isinstance(begun[1], Animation) else None


def _told(pair: Pair, **result: Any) -> dict[str, Any]:
    return {
        "ref": pair.ref,
        "driving": pair.driving,
        "out": pair.out,
        "options": dict(pair.options)
        | ({"ref_landmarks": pair.ref_landmarks} if pair.ref_landmarks else {}),
        **result,
    }
