"""What all `python -m` commands share: flags in, one line and exit code 2 for a user's mistake."""

import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from emoji_jax.errors import UserError


def run(main: Callable[[], None]) -> NoReturn:
    """Parses flags, calls `main` and exits.

    Exit codes: 0 done; 2 a user's mistake, told in one line on stderr; 1 a bug, with traceback.
    """

    def quietly(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        main()

    try:
        app.run(quietly, flags_parser=_parse)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # A config flag reports an unknown option or a wrong value by these.
        raise UserError(f"{' '.join(str(error).split())}; see --helpshort") from None
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options begin with --, see --helpshort")
    return rest


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
