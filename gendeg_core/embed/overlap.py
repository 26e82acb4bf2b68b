"""How far two sets of embeddings overlap: numbers beside the map, each with a bootstrap interval.

A map of t-SNE may part or join what the embeddings do not; these numbers are taken from the embeddings.
Both sets are drawn down to one size, scaled to length one and reduced by one PCA of both together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gendeg_core.embed.reduction import Metric, Reduction, as_rows

Array = NDArray[np.float64]

FEWEST = 20  # photos of a set
NEIGHBOURS = 10
BALLS = 5  # neighbours that span a ball of density and coverage, as in their paper


@dataclass(frozen=True)
class Measured:
    """A number and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Meaning:
    """What a number says: its name for people and its value at both ends."""

    label: str
    same: str  # two draws from one distribution
    apart: str  # two sets far from each other


MEANINGS = {
    "neighbour_share": Meaning("nearest neighbours from the other set", "0.5", "0"),
    "mmd": Meaning("squared maximum mean discrepancy", "0", "up to 2"),
    "density": Meaning("density of the second set within the first", "1", "0"),
    "coverage": Meaning("coverage of the first set by the second", "0.97", "0"),
    "frechet": Meaning("Frechet distance", "0", "up to 4"),
}


@dataclass(frozen=True)
class Overlap:
    """The numbers of two sets.

    Args:
        neighbour_share: share of the 10 nearest neighbours that come from the other set.
        mmd: unbiased squared maximum mean discrepancy (Gretton et al., 2012), Gaussian kernel as wide as the
            median distance; may fall a little below 0.
        density: how many balls of the first set hold a photo of the second, as a multiple of what is expected
            (Naeem et al., 2020).
        coverage: share of the first set's balls that hold a photo of the second.
        frechet: Frechet distance of two Gaussians, freed of the bias that few photos bring; 0 or more.
        photos: photos compared, per set.
        explained: share of the variance that the compared components keep.
    """

    neighbour_share: Measured
    mmd: Measured
    density: Measured
    coverage: Measured
    frechet: Measured
    photos: int
    explained: float


def overlap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 200,
    confidence: float = 0.95,
    limit: int = 2000,
    components: int = 64,
    metric: Metric = "cosine",
) -> Overlap:
    """Compare two sets of embeddings, (N, D) and (M, D).

    The intervals tell how far the numbers move with the photos that happen to be in the sets. Those of the
    neighbour share, density and coverage keep the neighbourhoods as they are: photos drawn twice would be
    their own neighbours.

    Args:
        seed: of the photos drawn and of the bootstrap; with it the numbers are the same twice.
        limit: photos per set that are compared at most.

    Raises:
        ValueError: fewer than 20 photos in a set, or embeddings of two lengths.
    """
    rng = np.random.default_rng(seed)
    x, y, explained = _comparable(first, second, rng, limit, components, metric)
    interval = _Interval(rng, resamples, confidence)
    everything = _distances(np.concatenate([x, y]), np.concatenate([x, y]))
    density, coverage = _density_and_coverage(everything, len(x))
    return Overlap(
        neighbour_share=interval.of_mean(*_foreign_shares(everything, len(x))),
        mmd=_mmd(everything, len(x), interval),
        density=interval.of_mean(density),
        coverage=interval.of_mean(coverage),
        frechet=interval.unbiased(lambda a, b: frechet_distance(x[a], y[b]), len(x)),
        photos=len(x),
        explained=explained,
    )


def overlaps(
    embeddings: ArrayLike, sets: Sequence[str], *, seed: int = 0, resamples: int = 200
) -> dict[tuple[str, str], Overlap]:
    """The overlap of every two of the sets with 20 photos or more, by their names in order of appearance."""
    rows, names = as_rows(embeddings), np.asarray(sets)
    if len(names) != len(rows):
        raise ValueError(f"{len(names)} names of sets for {len(rows)} embeddings; give one per photo")
    large = [name for name in dict.fromkeys(sets) if (names == name).sum() >= FEWEST]
    return {
        (a, b): overlap(rows[names == a], rows[names == b], seed=seed, resamples=resamples)
        for a, b in combinations(large, 2)
    }


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of two sets of rows, (N, D) and (M, D)."""
    a, b = as_rows(x), as_rows(y)
    shift = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    cov_a, cov_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    # tr (C_x C_y)^(1/2) from a symmetric matrix with the same eigenvalues, so that all stays real.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return max(0.0, shift + float(np.trace(cov_a) + np.trace(cov_b) - 2 * shared))


class _Interval:
    """Bootstrap intervals: percentiles over resamples of the photos."""

    def __init__(self, rng: np.random.Generator, resamples: int, confidence: float) -> None:
        if resamples < 20:
            raise ValueError(f"resamples={resamples} is too few for an interval; choose 20 or more")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence} is outside 0 to 1; choose a value inside")
        self.rng, self.resamples = rng, resamples
        self.ends = (50 - 50 * confidence, 50 + 50 * confidence)

    def drawn(self, count: int) -> NDArray[np.int64]:
        """`count` photos drawn with replacement, per resample: (resamples, count)."""
        return self.rng.integers(0, count, (self.resamples, count))

    def of_mean(self, *groups: Array) -> Measured:
        """Of the mean over groups of the mean of one number per photo."""
        values = np.mean([group[self.drawn(len(group))].mean(axis=1) for group in groups], axis=0)
        return self.around(float(np.mean([group.mean() for group in groups])), values)

    def around(self, value: float, values: Array) -> Measured:
        low, high = np.percentile(values, self.ends)
        return Measured(value, float(low), float(high))

    def unbiased(
        self, statistic: Callable[[NDArray[np.int64], NDArray[np.int64]], float], count: int
    ) -> Measured:
        """Of a statistic that few photos make too large: a resample is as much too large once more."""
        whole = np.arange(count)
        plain = statistic(whole, whole)
        draws = zip(self.drawn(count), self.drawn(count), strict=True)
        corrected = np.clip(2 * plain - np.array([statistic(a, b) for a, b in draws]), 0, None)
        return self.around(float(corrected.mean()), corrected)


def _comparable(
    first: ArrayLike,
    second: ArrayLike,
    rng: np.random.Generator,
    limit: int,
    components: int,
    metric: Metric,
) -> tuple[Array, Array, float]:
    """Both sets at one size in the components of one PCA, and the share of variance these keep."""
    a, b = as_rows(first, "first set"), as_rows(second, "second set")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"embeddings of {a.shape[1]} and {b.shape[1]} numbers cannot be compared; use one set of weights"
        )
    count = min(len(a), len(b), limit)
    if count < FEWEST:
        raise ValueError(f"overlap needs {FEWEST} photos or more in each set, got {len(a)} and {len(b)}")
    a, b = (rows[np.sort(rng.permutation(len(rows))[:count])] for rows in (a, b))
    reduction = Reduction(np.concatenate([a, b]), components=components, metric=metric)
    return reduction(a), reduction(b), reduction.explained


def _distances(a: Array, b: Array) -> Array:
    """Euclidean distances of all pairs, (N, M)."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b), dtype=np.float64)


def _foreign_shares(distances: Array, count: int) -> tuple[Array, Array]:
    """Per photo of either set, the share of its nearest neighbours that the other set holds."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    k = min(NEIGHBOURS, count - 1)
    nearest = np.argpartition(others, k - 1, axis=1)[:, :k]
    from_second = (nearest >= count).mean(axis=1)
    return from_second[:count], 1 - from_second[count:]


def _mmd(distances: Array, count: int, interval: _Interval) -> Measured:
    upper = distances[np.triu_indices(len(distances), 1)]
    width = float(np.median(upper)) or 1.0
    kernel = np.exp(-(distances**2) / (2 * width**2))
    xx, yy, xy = kernel[:count, :count], kernel[count:, count:], kernel[:count, count:]
    # A photo drawn twice makes no pair with itself, so resamples have no bias.
    a, b = (_times(interval.drawn(count)) for _ in range(2))
    values = _inner(xx, a) + _inner(yy, b) - 2 * ((a @ xy) * b).sum(axis=1) / count**2
    return interval.around(float(values[0]), values[1:])


def _times(drawn: NDArray[np.int64]) -> Array:
    """How often every photo was drawn, per resample, below a row of ones for the photos as they are."""
    counts = [np.bincount(row, minlength=drawn.shape[1]) for row in drawn]
    return np.vstack([np.ones(drawn.shape[1]), *counts]).astype(np.float64)


def _inner(kernel: Array, times: Array) -> Array:
    """Mean of the kernel over pairs of different photos, each counted as often as it was drawn."""
    pairs = ((times @ kernel) * times).sum(axis=1) - (times**2) @ np.diag(kernel)
    return pairs / (times.sum(axis=1) ** 2 - (times**2).sum(axis=1))


def _density_and_coverage(distances: Array, count: int) -> tuple[Array, Array]:
    """Per photo of the second set its density, per photo of the first set whether it is covered."""
    own = distances[:count, :count].copy()
    np.fill_diagonal(own, np.inf)
    radius = np.partition(own, BALLS - 1, axis=1)[:, BALLS - 1]
    inside = distances[:count, count:] <= radius[:, None]
    density = np.asarray(inside.sum(axis=0), dtype=np.float64) / BALLS
    return density, np.asarray(inside.any(axis=1), dtype=np.float64)
