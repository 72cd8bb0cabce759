"""JSON that a user may have made."""

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """What a file holds.

    Raises:
      OSError: it can't be read.
      ValueError: it is no JSON, or nested more deeply than can be read.
    """
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
