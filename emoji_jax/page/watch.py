"""Long work, watched: how far it is, how long it will take, and a way to stop it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from emoji_jax.driver import Progress

# Between two looks, seconds; what is told in between is passed over.
_PATIENCE = 0.25
_WORDS = {
    "detecting": "Looking for the face in each frame",
    "denoising": "Making frames",
    "decoding": "Finishing frames",
}


class Stopped(Exception):
    """Somebody asked for an end."""


class Meter:
    """How far work is, and how long it will still take.

    Args:
      pace: seconds that one unit of each kind of work took the last time; updated when a kind is
        done. With it, what has not begun yet is counted, too.
      ahead: how many units of each kind there will be, as far as known.
    """

    def __init__(self, pace: dict[str, float], ahead: dict[str, int]):
        self._pace, self._ahead = pace, dict(ahead)
        self._what, self._done, self._total = "", 0, None
        self._begun = time.monotonic()

    def told(self, what: str, done: int, total: int | None) -> None:
        """A `Progress`."""
        if what != self._what:
            self._what, self._begun = what, time.monotonic()
        self._ahead.pop(what, None)
        self._done, self._total = done, total
        if done and done == total:
            self._pace[what] = (time.monotonic() - self._begun) / done

    @property
    def share(self) -> float | None:
        """Of the present kind of work, what is done; None if unknown."""
        return self._done / self._total if self._total else None

    @property
    def left(self) -> float | None:
        """Seconds, of all work whose pace is known; None if none is."""
        if not self._done or not self._total:
            return None
        took = time.monotonic() - self._begun
        later = sum(self._pace.get(what, 0) * units for what, units in self._ahead.items())
        return took / self._done * (self._total - self._done) + later

    def __str__(self) -> str:
        if not self._what:
            new = any(what not in self._pace for what in self._ahead)
            return f"Starting{': the first time, the networks are compiled' * new}"
        of = f" of {self._total}" if self._total else ""
        text = f"{_WORDS.get(self._what, self._what)}: {self._done}{of}"
        if (left := self.left) is None:
            return text
        # The first time, nobody knows how long it takes.
        unknown = [_WORDS[what].lower() for what in self._ahead if what not in self._pace]
        return f"{text}, about {_duration(left)} left{', then ' * bool(unknown)}{''.join(unknown)}"


def _duration(seconds: float) -> str:
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"


def watched(
    work: Callable[[Progress], Any], meter: Meter, stop: threading.Event
) -> Iterator[Meter | Any]:
    """Does work in a thread; yields the meter now and then, and last what the work returned.

    Args:
      work: takes a `Progress`, which it tells often.
      meter: told the same.
      stop: once set, the work ends where it tells next; leaving the iterator sets it.

    Raises:
      Stopped: it was stopped.
      Exception: what the work raised.
    """
    finished: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def progress(what: str, done: int, total: int | None) -> None:
        meter.told(what, done, total)
        if stop.is_set():
            raise Stopped

    def run() -> None:
        try:
            finished.put((work(progress), None))
        except BaseException as error:
            finished.put((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            try:
                result, error = finished.get(timeout=_PATIENCE)
                break
            except queue.Empty:
                yield meter
        if error is not None:
            raise error
        yield result
    finally:
        # Not waited for: it may be the server's own loop that leaves the iterator.
        stop.set()
