"""Seconds per stage of work: each moment counts for the innermost stage that is open."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STAGES = ("generator", "decode", "structure", "read", "check", "encode", "storage")
MODEL = STAGES[:3]  # decode is the VAE, both ways


class Clock:
    """Used by one thread at a time; `synchronize` waits for a device whose work runs on by itself."""

    def __init__(self, synchronize: Callable[[], object] = lambda: None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0
        self._synchronize = synchronize

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def _book(self) -> None:
        """Credit the time since the last change to the stage that was open."""
        self._synchronize()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
