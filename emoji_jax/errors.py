"""The one exception that the command lines turn into a message instead of a traceback."""


class UserError(Exception):
    """A mistake of the user's: one clear line, exit code 2."""
