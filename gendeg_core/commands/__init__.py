"""The commands of the command line; a module each, heavy libraries imported only when it runs."""

from __future__ import annotations


class UsageError(ValueError):
    """The arguments cannot be used; the message is one sentence, the exit status 2."""
