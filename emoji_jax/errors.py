"""The one exception that the command lines turn into a message instead of a traceback."""

import re


class UserError(Exception):
    """A mistake of the user's: one clear line, exit code 2."""


def memory_wanted(error: BaseException) -> str | None:
    """What an error says of too little memory; None if it is about something else."""
    # JAX's own kind of RuntimeError is not imported here, nor by all commands.
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    said = str(error).strip()
    # Of a chip's own scratch memory, a kernel that asks for too much is a bug.
    scratch = re.search("vmem|smem|shared memory|scoped", said, re.IGNORECASE)
    if isinstance(error, RuntimeError) and ("RESOURCE_EXHAUSTED" not in said or scratch):
        return None
    return (said or "no more to be had").splitlines()[0][:200]
