"""What an audit knows of a data set: counts, calibration, histograms, rows to look at, verdicts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gendeg_core.dataset.plan import Plan
from gendeg_core.statistics import BINS, MU_EDGES, SIGMA_EDGES

WIDE = 4  # published bins per bin of a calibration curve
FACTS = ("weights", "scheduler", "steps", "engine", "code_version")


@dataclass
class Calibration:
    """Asked against obtained values of one quantity; per wide bin of what was asked, and in all.

    Args:
        edges: (n + 1,) of the wide bins.
    """

    edges: np.ndarray
    count: np.ndarray = field(init=False)  # (n,) pairs per wide bin
    _bin_sums: np.ndarray = field(init=False)  # (3, n): asked, obtained, obtained squared
    _sums: np.ndarray = field(init=False)  # see `add`

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        self.count = np.zeros(bins, np.int64)
        self._bin_sums = np.zeros((3, bins))
        self._sums = np.zeros(7)

    def add(self, asked: np.ndarray, obtained: np.ndarray) -> None:
        """Count pairs in, both (N,)."""
        place = np.clip(np.digitize(asked, self.edges) - 1, 0, len(self.count) - 1)
        np.add.at(self.count, place, 1)
        for row, values in zip(self._bin_sums, (asked, obtained, obtained**2), strict=True):
            np.add.at(row, place, values)
        difference = obtained - asked
        self._sums += [
            len(asked),
            asked.sum(),
            obtained.sum(),
            (asked**2).sum(),
            (obtained**2).sum(),
            (asked * obtained).sum(),
            np.abs(difference).sum(),
        ]

    @property
    def pairs(self) -> int:
        return int(self._sums[0])

    @property
    def asked_mean(self) -> np.ndarray:
        """(n,) mean asked value per wide bin; NaN where there is none."""
        return self._per_bin(0)

    @property
    def mean(self) -> np.ndarray:
        """(n,) mean obtained value per wide bin; NaN where there is none."""
        return self._per_bin(1)

    @property
    def spread(self) -> np.ndarray:
        """(n,) population standard deviation of the obtained values per wide bin."""
        return np.sqrt(np.maximum(self._per_bin(2) - self.mean**2, 0))

    @property
    def mean_error(self) -> float:
        """Mean of |obtained - asked|; NaN without pairs."""
        return float(self._sums[6] / self._sums[0]) if self.pairs else math.nan

    @property
    def bias(self) -> float:
        """Mean of obtained - asked; NaN without pairs."""
        return float((self._sums[2] - self._sums[1]) / self._sums[0]) if self.pairs else math.nan

    @property
    def correlation(self) -> float:
        """Pearson's, NaN when one of both does not vary."""
        n, a, o, aa, oo, ao, _ = self._sums
        scale = (n * aa - a * a) * (n * oo - o * o)
        # Sums of equal values leave rounding errors in the place of zero.
        return float((n * ao - a * o) / math.sqrt(scale)) if scale > 1e-18 * n**4 else math.nan

    def _per_bin(self, which: int) -> np.ndarray:
        return np.where(self.count, self._bin_sums[which] / np.maximum(self.count, 1), math.nan)


@dataclass
class KindNumbers:
    """The numbers of one degradation."""

    planned: int = 0
    made: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # word of the filter to rows
    mu: Calibration = field(default_factory=lambda: Calibration(MU_EDGES[::WIDE]))
    sigma: Calibration = field(default_factory=lambda: Calibration(SIGMA_EDGES[::WIDE]))
    joint: np.ndarray = field(default_factory=lambda: np.zeros((BINS, BINS), np.int64))  # accepted rows

    @property
    def rejected_share(self) -> float:
        return 1 - self.accepted / self.made if self.made else 0.0


@dataclass(frozen=True, order=True)
class Pick:
    """One row that was drawn to be looked at: where its pictures are, and what the report says of it."""

    lot: int
    path: Path = field(compare=False)
    group: int = field(compare=False)
    row: int = field(compare=False)
    values: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class Check:
    """One criterion: what it found, and whether that passes."""

    name: str
    passed: bool
    finding: str


@dataclass
class AuditNumbers:
    """Everything the report says in numbers.

    Args:
        facts: column of the shards (FACTS) to its values and the rows that have them.
        failed: photos that could not be done, with the reason.
        missing, doubled, unknown: items of the plan without a row, items with several, rows without an item.
        damaged: what is wrong with shard files and pictures, a sentence each.
        examples: degradation to rows drawn from the accepted ones.
        rejects: word of the filter to rows drawn from those it refused.
        opened: number of pictures that were decoded.
    """

    plan: Plan
    kinds: dict[str, KindNumbers]
    shards: int = 0
    facts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in FACTS})
    failed: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    doubled: int = 0
    unknown: int = 0
    damaged: list[str] = field(default_factory=list)
    examples: dict[str, list[Pick]] = field(default_factory=dict)
    rejects: dict[str, list[Pick]] = field(default_factory=dict)
    opened: int = 0
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def made(self) -> int:
        return sum(kind.made for kind in self.kinds.values())

    @property
    def accepted(self) -> int:
        return sum(kind.accepted for kind in self.kinds.values())


@dataclass(frozen=True)
class AuditLimits:
    """What a data set has to keep to.

    Args:
        mu_error, sigma_error: mean of |obtained - asked| per degradation.
        rejected: share of refused rows per degradation.
        failed: share of photos that could not be done.
        few: rows of a degradation below which errors and shares of it are not judged: chance rules them.
        pictures: how many rows have their pictures opened; the files' digests cover the rest.
    """

    mu_error: float = 0.02
    sigma_error: float = 0.04
    rejected: float = 0.25
    failed: float = 0.01
    few: int = 8
    pictures: int = 1000
