"""The commands of the command line; a module each, heavy libraries imported only when it runs."""

from __future__ import annotations

import sys


class UsageError(ValueError):
    """The arguments cannot be used; the message is one sentence, the exit status 2."""


def one_line(error: BaseException) -> str:
    """An expected failure as one line for people."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def say(sentence: str) -> None:
    """To standard error, without tearing a progress bar."""
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)
