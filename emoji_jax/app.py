"""A web page on which portraits are animated, for a browser on this machine.

python -m emoji_jax.app

It says where it is; docs/app.md says more.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from emoji_jax import command
from emoji_jax import config as config_file
from emoji_jax.errors import UserError
from emoji_jax.page import guard

if TYPE_CHECKING:  # which imports jax
    from emoji_jax.page.work import Page

_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in, whoever they are."
)
_PORT = flags.DEFINE_integer(
    "port", 7860, "Port to listen at; 0: the first free one from 7860.", 0, 65535
)
_SHARE = flags.DEFINE_bool(
    "share",
    False,
    "Also give it a public address for three days, by way of Gradio's servers, which then see all "
    "that is uploaded and made.",
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "tiny", "Bundled checkpoint or folder of one.")
_MEGABYTES = flags.DEFINE_integer("max_megabytes", 100, "Of a file that is uploaded.", 1)
_SECONDS = flags.DEFINE_float("max_seconds", 30.0, "Of a motion, and of a result.", 0.1)
_SIDE = flags.DEFINE_integer("max_side", 1280, "Pixels; larger portraits are made smaller.", 64)
_MINUTES = flags.DEFINE_integer("keep_minutes", 60, "Then uploads and results are deleted.", 1)
_WAITING = flags.DEFINE_integer("max_waiting", 20, "Requests that may wait for their turn.", 1)
_CONFIG = config_file.flag("sample.py")
_FOLDER = "emoji_jax-page-"
# Visitors whose state is in memory; beyond that, those that came first are forgotten.
_SESSIONS = 100
flags.declare_key_flag("config")


def main() -> None:
    """Serves the page until it is interrupted."""
    with _folder() as folder:
        from emoji_jax.page import layout

        gradio = layout.gradio(folder)
        from emoji_jax import options
        from emoji_jax.animator import Animator
        from emoji_jax.page.limits import Limits
        from emoji_jax.page.work import Page

        config = _CONFIG.value
        limits = Limits(_MEGABYTES.value, _SECONDS.value, _SIDE.value, _MINUTES.value)
        loading = options.of_loading(config)
        options.of_animating(config)
        page = Page(Animator.load(_CHECKPOINT.value, **loading), config, limits, folder)
        _serve(gradio, page)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that nobody else may look into, and that is gone in the end."""
    # As an exception, so that what follows `finally` happens.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows lacks the second
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))  # mode 0700
    held = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _clear() -> None:
    """Deletes the folders of this user's pages that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):
            status = left.lstat()
            # A page that is just starting does not hold its folder yet.
            if status.st_uid != os.getuid() or status.st_mtime > time.time() - 60:
                continue
            if (held := _hold(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(held)


def _hold(folder: Path) -> int | None:
    """Holds a folder until the process ends, however it does; None if another has it, or none can.

    None can on Windows, and on file systems that know no locks; there, nothing is cleared.
    """
    if fcntl is None:
        return None
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def _serve(gradio: ModuleType, page: "Page") -> None:
    from emoji_jax.page import layout, wiring

    with gradio.Blocks(title="emoji_jax", analytics_enabled=False) as demo:
        parts = layout.lay_out(gradio, page, _privacy())
        wiring.connect(gradio, page, parts, demo)
    demo.queue(max_size=_WAITING.value, api_open=False)
    try:
        _, local, public = demo.launch(
            server_name=_HOST.value,
            server_port=_PORT.value or None,
            share=_SHARE.value,
            # The page says more clearly, and next to the field, what is too large; this is for what
            # would not even fit.
            max_file_size=4 * _MEGABYTES.value * 10**6,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            prevent_thread_lock=True,
            state_session_capacity=_SESSIONS,
            app_kwargs={"middleware": _guarded()},
            **layout.appearance(gradio),
        )
    except OSError as error:
        if "empty port" not in str(error):
            raise
        raise UserError(
            f"nothing can listen at {_HOST.value}, port {_PORT.value}: it is taken, or not this "
            "machine's; expected another --port, or --port=0 for any"
        ) from None
    for address in filter(None, (local, public)):
        print(f"the page is at {address}", flush=True)
    end = threading.Event()
    try:
        while not end.wait(30):
            page.limits.sweep(page.folder)
            if fcntl is not None:
                _clear()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        demo.close(verbose=False)


def _guarded() -> list[Any]:
    if _SHARE.value:  # by way of another machine, which asks in its own name
        return []
    from starlette.middleware import Middleware

    hosts = guard.LOOPBACK if _HOST.value in guard.LOOPBACK else ()
    return [Middleware(guard.Guard, hosts=hosts)]


def _privacy() -> str:
    here = "this machine"
    if _HOST.value not in guard.LOOPBACK:
        here = "the machine that serves this page"
    where = f"Everything is computed on {here}; nothing is sent anywhere else."
    if _SHARE.value:
        where = f"Everything is computed on {here}; the page is shared by way of Gradio's servers."
    return (
        f"{where} What you upload, record and make lies in a folder that only its server can read, "
        f"and is deleted after {_MINUTES.value} minutes, or when the server stops. Files up to "
        f"{_MEGABYTES.value} MB, motions up to {_SECONDS.value:g} s."
    )


if __name__ == "__main__":
    command.run(main)
