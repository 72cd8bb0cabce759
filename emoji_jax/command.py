"""What all `python -m` commands share: flags in, one line and exit code 2 for a user's mistake."""

import errno
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from emoji_jax import compiled
from emoji_jax import config as config_file
from emoji_jax.errors import UserError, memory_wanted

# What needs less memory, most effective first.
_LESS = (
    "less is needed with a smaller config.size, config.dtype=bfloat16, a smaller "
    "config.sampler.frames, config.sampler.decode_batch=1; in training, with a larger "
    "config.train.accumulate and config.train.remat"
)
_REFUSED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR),
)
_HELP = {"help", "helpshort", "helpfull", "helpxml", "?"}


def run(main: Callable[[], None]) -> NoReturn:
    """Parses flags, calls `main` and exits.

    Exit codes: 0 done; 2 a user's mistake, told in one line on stderr; 1 a bug, with traceback; 130
    interrupted from the keyboard, as shells have it.
    """

    def quietly(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        compiled.remember()
        main()

    try:
        app.run(quietly, flags_parser=_parse)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        # What the file system refuses somewhere in the middle: nobody's mistake in the program.
        if error.errno not in _REFUSED:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}")
    except KeyboardInterrupt:
        _fail("interrupted", 128 + signal.SIGINT)
    except (MemoryError, RuntimeError) as error:
        told = memory_wanted(error)
        if told is None:
            raise
        _fail(f"too little memory: {told}; {_LESS}")


def _parse(argv: list[str], known: flags.FlagValues = flags.FLAGS) -> list[str]:
    config_file.add_default(argv)
    try:
        rest = known(argv)
        if "config" in known:
            # Of a file that can't be read, ml_collections complains only when it is used.
            _ = known.config.lock
    except SystemExit:
        if not _HELP & {option.lstrip("-") for option in argv[1:]}:
            raise
        sys.exit(0)  # absl takes having shown help for a failure
    except Exception as error:  # a configuration file is a program, which may fail in any way
        told = _explain(error).rstrip(". ")
        if len(told) > 600:  # with a value that is a novel
            told = f"{told[:400]} … {told[-200:]}"
        raise UserError(f"{told}{'' if told.endswith('?') else ';'} see --helpshort") from None
    if len(rest) > 1:
        told = repr(rest[1][:200])
        raise UserError(f"unexpected argument {told}; options begin with --, see --helpshort")
    return rest


def _explain(error: Exception) -> str:
    text = str(error).strip()
    if "Traceback" in text:  # ml_collections puts that of a configuration file into its message
        return f"the configuration file fails: {text.splitlines()[-1]}"
    if isinstance(error, flags.Error):
        missing = re.match(r"flag (--\w+)=None: Flag .* must have a value", text)
        return f"{missing[1]} is missing" if missing else text.replace(" ?", "?")
    if isinstance(error, OSError):
        return f"--config names a file that can't be read: {error.__cause__ or error}"
    if isinstance(error, AttributeError | KeyError):
        told = re.sub(r"\\n|[^\w .?]", " ", text).replace("Did you mean", ". Did you mean")
        return "no such option: " + re.sub(r"\s+(?=[.?])|\s+instead of\s+\S+\s*(?=\?)", "", told)
    return f"the configuration file fails: {type(error).__name__}: {text}"


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
