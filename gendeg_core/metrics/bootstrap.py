"""Confidence intervals of means by the percentile bootstrap over images (Efron 1979).

Means of one seed and one key resample the same images, so that their differences are paired differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gendeg_core.seeds import sample_seed

RESAMPLES = 2000
LEVEL = 0.95
_DRAWS = 2**20  # at a time


@dataclass(frozen=True)
class Interval:
    """A mean, and between what bounds it lies in 95 of 100 resamples; nan bounds for a single image."""

    mean: float
    low: float
    high: float


def resampled_means(values: np.ndarray, key: str, *, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """(resamples,) means of `values` (N,) drawn with replacement.

    Args:
        key: names the images; the same seed, key and N draw the same ones.
    """
    rng = np.random.default_rng(sample_seed(seed, key))
    values = np.asarray(values, np.float64)
    count = len(values)
    rows = max(1, _DRAWS // count)
    blocks = [min(rows, resamples - first) for first in range(0, resamples, rows)]
    return np.concatenate([values[rng.integers(count, size=(n, count))].mean(1) for n in blocks])


def interval(mean: float, draws: np.ndarray, *, images: int, level: float = LEVEL) -> Interval:
    """The percentile interval of `draws` around `mean`.

    Args:
        images: how many the mean is of; a single one tells nothing about others.
    """
    if images < 2:
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def mean_interval(values: np.ndarray, key: str = "", *, seed: int = 0, level: float = LEVEL) -> Interval:
    """The mean of `values` (N,) with its interval."""
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("there is no value to average; measure at least one image")
    return interval(
        float(values.mean()), resampled_means(values, key, seed=seed), images=len(values), level=level
    )
