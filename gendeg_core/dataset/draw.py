"""Draw mu, sigma and data set for very many items at once, each from its own seed.

The rules are those of `statistics.draw_intensity` (spec: creation of GenDS); here every item's numbers follow
from its seed alone, whatever else is drawn with it, and half a million items take a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gendeg_core.statistics import BINS, MU_EDGES, SIGMA_EDGES, published_histogram
from gendeg_core.types import Degradation

# Which of an item's uniform numbers decides what.
_DATASET, _MU_BIN, _MU_INSIDE, _SIGMA_BIN, _SIGMA_INSIDE, ENGINE = range(6)
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Intensities:
    """mu, sigma (N,) float64 and the names (N,) of the data sets whose histograms gave them."""

    mu: np.ndarray
    sigma: np.ndarray
    dataset: np.ndarray


def uniforms(seeds: np.ndarray, number: int) -> np.ndarray:
    """Uniform number `number` of each seed's own sequence, (N,) float64 in [0, 1).

    The generator is SplitMix64 (Steele, Lea and Flood 2014): output k is a hash of seed + (k + 1) * golden
    ratio, so no item waits for another's numbers.
    """
    offset = ((number + 1) * _GOLDEN) % 2**64
    z = seeds.astype(np.uint64) + np.uint64(offset)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw_intensities(
    degradation: Degradation, seeds: np.ndarray, free: np.ndarray, *, only_sigma_free: bool = False
) -> Intensities:
    """Requests for the items with these seeds, all of one degradation.

    Args:
        seeds: (N,) non-negative integers.
        free: (N,) which items have mu and sigma independent and uniform over their data set's range.
        only_sigma_free: leave mu to the histogram there, as the paper's text has it.
    """
    histogram = published_histogram(degradation)
    names = list(histogram.dataset_weights)
    chosen = _pick(np.array(list(histogram.dataset_weights.values())), uniforms(seeds, _DATASET))
    inside_mu, inside_sigma = uniforms(seeds, _MU_INSIDE), uniforms(seeds, _SIGMA_INSIDE)
    mu, sigma = np.empty(len(seeds)), np.empty(len(seeds))
    mu_bins = np.empty(len(seeds), np.int64)
    for number, name in enumerate(names):
        here = chosen == number
        counts = histogram.mu_counts[name]
        mu_bins[here] = _pick(counts, uniforms(seeds[here], _MU_BIN))
        mu[here] = _inside(MU_EDGES, mu_bins[here], inside_mu[here])
        if not only_sigma_free:
            mu[here & free] = _over_range(counts, MU_EDGES, inside_mu[here & free])
        sigma_counts = histogram.sigma_counts[name]
        sigma[here & free] = _over_range(sigma_counts, SIGMA_EDGES, inside_sigma[here & free])
    for mu_bin in np.unique(mu_bins[~free]):
        here = (mu_bins == mu_bin) & ~free
        sigma_bins = _pick(histogram.joint[mu_bin], uniforms(seeds[here], _SIGMA_BIN))
        sigma[here] = _inside(SIGMA_EDGES, sigma_bins, inside_sigma[here])
    return Intensities(mu, sigma, np.array(names, object)[chosen])


def pick(weights: dict[str, float], seeds: np.ndarray) -> np.ndarray:
    """One name per seed, (N,) objects, drawn in proportion to the weights."""
    return np.array(list(weights), object)[_pick(np.array(list(weights.values())), uniforms(seeds, ENGINE))]


def _pick(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Index of the weight that each uniform number falls on; never one of weight zero."""
    edges = np.cumsum(weights) / np.sum(weights)
    last = int(np.flatnonzero(weights)[-1])  # rounding may leave the last edge a hair below 1
    return np.minimum(np.searchsorted(edges, uniform, side="right"), last)


def _inside(edges: np.ndarray, bins: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return edges[bins] + uniform * (edges[bins + 1] - edges[bins])


def _over_range(counts: np.ndarray, edges: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Uniform from the lower edge of the first filled bin to the upper edge of the last."""
    assert len(counts) == BINS
    filled = np.flatnonzero(counts)
    low, high = edges[filled[0]], edges[filled[-1] + 1]
    return low + uniform * (high - low)
