"""Runs a function on many things with Apache Beam: worker processes here, or any of its runners."""

import collections
import contextlib
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from emoji_jax.errors import UserError


def each(
    items: Sequence[Any],
    work: Callable[[Any], None],
    workers: int,
    runner: str,
    arguments: Iterable[str],
) -> None:
    """Calls `work` once with each item; several times, where a runner tries again.

    Args:
      items: anything that can be pickled.
      work: a function that can be, for its effect.
      workers: processes on this machine, if there is no runner.
      runner: name of a Beam runner; empty: worker processes.
      arguments: further options of Beam, such as --project=NAME.

    Raises:
      UserError: Beam is missing, or does not take the options.
      RuntimeError: what `work` raised, somewhere in a longer text.
    """
    options = [*arguments]
    if not runner:
        options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    with contextlib.nullcontext(2) if runner else _quietly() as stderr:
        try:
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
            from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # pyright: ignore
        except ImportError as error:
            raise UserError(
                f"preparing with worker processes needs Apache Beam ({error}); install "
                "emoji_jax[prepare], or give --workers=0"
            ) from None
        try:
            # What Beam calls DirectRunner fetches and starts another program first.
            pipeline = beam.Pipeline(runner or FnApiRunner(), PipelineOptions(options))
        except (ValueError, ImportError, SystemExit) as error:
            raise UserError(f"Beam does not take --runner={runner} {options}: {error}") from None
        with contextlib.nullcontext() if runner else _watched(stderr) as flag:
            if flag:
                work = functools.partial(_while, work=work, flag=flag, parent=os.getpid())
            _ = pipeline | beam.Create(items, reshuffle=True) | beam.Map(work)
            pipeline.run().wait_until_finish()


def _while(item: Any, work: Callable[[Any], None], flag: str, parent: int) -> None:
    """Works, in a process that ends with the run that asked for it, however that ended."""
    _guard(flag, parent)
    work(item)


@functools.cache
def _guard(flag: str, parent: int) -> None:
    def watch() -> None:
        while os.path.exists(flag) and _is_alive(parent):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _watched(stderr: int) -> Iterator[str]:
    """Ends a run one of whose worker processes was killed, for which Beam would wait for ever.

    Yields the name of a file that exists as long as workers shall.
    """

    def ended(args: threading.ExceptHookArgs) -> None:
        if "Worker subprocess exited" not in str(args.exc_value):
            before(args)
            return
        message = (
            "error: a worker process was killed, perhaps for want of memory; run the same command "
            "again, with fewer --workers: what is done is kept\n"
        )
        os.write(stderr, message.encode())
        # Beam's main thread waits where no exception or signal reaches it.
        os._exit(2)

    before, threading.excepthook = threading.excepthook, ended
    try:
        with tempfile.NamedTemporaryFile() as flag:
            yield flag.name
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def _quietly() -> Iterator[int]:
    """Keeps what Beam and its workers write to standard error for the tail of an exception.

    They tell every step, at no level that an option would reach in the workers. Yields the true
    standard error's number.
    """
    sys.stderr.flush()
    tail: collections.deque[str] = collections.deque(maxlen=60)
    source, sink = os.pipe()  # not a file: the disk may be full

    def read() -> None:
        with os.fdopen(source, errors="replace") as lines:
            tail.extend(lines)

    threading.Thread(target=read, daemon=True).start()
    stderr = os.dup(2)
    os.dup2(sink, 2)
    os.close(sink)
    try:
        yield stderr
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"Beam's log ends:\n{''.join(tail)}")
        raise
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)


@contextlib.contextmanager
def progress(paths: Sequence[Path]) -> Iterator[None]:
    """Shows how many of the files exist, whoever makes them."""
    ended = threading.Event()
    folders = {path.parent for path in paths}
    left = {path.name for path in paths} - _names(folders)  # others are made again
    stderr = os.fdopen(os.dup(2), "w")  # Beam's is put away
    bar = tqdm(desc="inputs", total=len(paths), initial=len(paths) - len(left), file=stderr)

    def watch() -> None:
        with stderr, bar:
            last, pause = False, 2.0
            while not last:
                last, start = ended.wait(pause), time.monotonic()
                done = left & _names(folders)
                left.difference_update(done)
                bar.update(len(done))
                # Of very many files, or on a slow disk, looking must not become the work.
                pause = max(2.0, 20 * (time.monotonic() - start))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _names(folders: Iterable[Path]) -> set[str]:
    """Of the files in them; asking for each file by itself would take much longer."""
    names: set[str] = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            names.update(os.listdir(folder))
    return names
