"""Timing of small jobs: medians, their spread, and ratios inside a group (ratios travel between machines)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One thing to time. The first case of a group is what the others are compared with.

    Args:
        group: what belongs together in the table.
        name: what is done, with its size.
        run: does it once.
        repeats: how many timed runs; one more, untimed, goes before.
    """

    group: str
    name: str
    run: Callable[[], object]
    repeats: int = 5


@dataclass(frozen=True)
class Timing:
    case: Case
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure_case(case: Case) -> Timing:
    """Run `case` once to warm up, then `repeats` times against the clock."""
    case.run()
    seconds = []
    for _ in range(case.repeats):
        start = time.perf_counter()
        case.run()
        seconds.append(time.perf_counter() - start)
    return Timing(case, tuple(seconds))


def table(timings: Iterable[Timing]) -> str:
    """One line per case: median, fastest and slowest run in milliseconds, ratio to the first of its group."""
    rows: list[tuple[str, ...]] = [("group", "case", "median ms", "fastest", "slowest", "ratio")]
    firsts: dict[str, float] = {}
    for timing in timings:
        first = firsts.setdefault(timing.case.group, timing.median)
        milliseconds = (1000 * s for s in (timing.median, min(timing.seconds), max(timing.seconds)))
        numbers = [f"{value:.1f}" for value in milliseconds]
        rows.append((timing.case.group, timing.case.name, *numbers, f"{timing.median / first:.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    words = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*words, *numbers])
