"""Degradation map, mu, sigma, their bins, and the published histograms they are drawn from.

GenDeg (arXiv 2411.17687), section 3: mu and sigma are the mean and the population standard deviation of
|degraded - clean| over all pixels and channels, measured on both images squashed to 256 x 256.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gendeg_core.paths import ASSETS
from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation

if TYPE_CHECKING:
    from torch import Tensor

BINS = 128
NULL_BIN = 128  # index 128 of the 129-wide one-hot means "no intensity given"
MEASURE_SIZE = 256
# Edges stay float64: float32 edges, or a division by the bin width, put values at an edge into the wrong bin.
MU_EDGES = np.linspace(0, MU_MAX, BINS + 1)
SIGMA_EDGES = np.linspace(0, SIGMA_MAX, BINS + 1)

# Unnormalised weights of the data sets when one is drawn (published generator); all others weigh 1.
DATASET_WEIGHTS = {"ORD": 0.2, "DenseHaze": 0.05, "NH-HAZE": 0.1, "I-HAZE": 0.25, "SID": 0.2}


def degradation_map(clean: Tensor, degraded: Tensor) -> Tensor:
    """|degraded - clean| per pixel and channel; any shape, [0, 1] in and out."""
    if clean.shape != degraded.shape:
        raise ValueError(f"clean {tuple(clean.shape)} and degraded {tuple(degraded.shape)} differ in shape")
    return (degraded - clean).abs()


def map_statistics(difference: Tensor) -> tuple[Tensor, Tensor]:
    """mu and sigma, each (B,), of degradation maps (B, 3, H, W): mean and population standard deviation."""
    flat = difference.flatten(1)
    return flat.mean(1), flat.std(1, correction=0)


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) bytes, rounded to nearest.

    Raises:
        ValueError: the picture holds NaN or an infinite value, which no byte can stand for.
    """
    if not image.isfinite().all():
        raise ValueError("the picture holds NaN or infinite values; it cannot be measured or stored")
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def measure_uint8(clean: np.ndarray, degraded: np.ndarray) -> tuple[float, float]:
    """mu and sigma of two 8-bit RGB arrays (H, W, 3), as published.

    Both are squashed to 256 x 256 with Pillow's LANCZOS (the aspect ratio is not kept); the statistics are
    taken in float64 over all pixels and channels. The two arrays may differ in size.
    """
    from PIL import Image

    def squash(array: np.ndarray) -> np.ndarray:
        image = Image.fromarray(array).resize((MEASURE_SIZE, MEASURE_SIZE), Image.Resampling.LANCZOS)
        return np.asarray(image, np.float64) / 255

    difference = np.abs(squash(degraded) - squash(clean))
    return float(difference.mean()), float(difference.std())


def measure(clean: Tensor, degraded: Tensor) -> tuple[float, float]:
    """mu and sigma obtained, as published, of two images (3, H, W) in [0, 1]; see `measure_uint8`."""
    return measure_uint8(to_uint8(clean), to_uint8(degraded))


def bin_index(values: np.ndarray | float, edges: np.ndarray) -> np.ndarray:
    """Left-closed bin of each value; the last regular bin at and above the top edge.

    Raises:
        ValueError: a value is negative or not a number.
    """
    values = np.asarray(values, np.float64)
    if not (values >= 0).all():
        wrong = values[~(values >= 0)].flat[0] if values.ndim else values
        raise ValueError(f"mu and sigma are never negative or NaN, got {wrong}; choose values from 0 up")
    return np.minimum(np.digitize(values, edges) - 1, BINS - 1)


def one_hot(index: np.ndarray | int) -> np.ndarray:
    """(...,) bin indices 0..128 to (..., 129) float32; index 128 is the null bin.

    Raises:
        ValueError: an index is outside 0..128.
    """
    index = np.asarray(index)
    # A negative index would silently count from the end, and -1 would mean "no intensity given".
    if ((index < 0) | (index > NULL_BIN)).any():
        raise ValueError(f"bin indices run from 0 to {NULL_BIN}, got {index.min()} to {index.max()}")
    return np.eye(BINS + 1, dtype=np.float32)[index]


@dataclass(frozen=True)
class PublishedHistogram:
    """What the published training data of one degradation looks like.

    Args:
        joint: (128, 128) counts over (mu bin, sigma bin), pooled over the data sets.
        mu_counts: data set name to (128,) counts over mu.
        sigma_counts: data set name to (128,) counts over sigma.
    """

    joint: np.ndarray
    mu_counts: dict[str, np.ndarray]
    sigma_counts: dict[str, np.ndarray]

    @functools.cached_property
    def dataset_weights(self) -> dict[str, float]:
        raw = {name: DATASET_WEIGHTS.get(name, 1.0) for name in self.mu_counts}
        total = sum(raw.values())
        return {name: weight / total for name, weight in raw.items()}


@dataclass(frozen=True)
class DrawnIntensity:
    mu: float
    sigma: float
    dataset: str
    free: bool  # drawn uniformly over the data set's range instead of from the histogram


@functools.cache
def published_histogram(degradation: Degradation) -> PublishedHistogram:
    """The published histogram of one degradation, from assets/statistics."""
    text = (ASSETS / "statistics" / "mu_sigma.json").read_text(encoding="utf-8")
    tables = json.loads(text)["degradations"][degradation.value]
    joint = np.zeros((BINS, BINS), np.int64)
    mu_bins, sigma_bins, counts = np.array(tables["joint"]).T
    joint[mu_bins, sigma_bins] = counts
    sets = tables["datasets"]
    return PublishedHistogram(
        joint,
        {name: np.array(data["mu"]) for name, data in sets.items()},
        {name: np.array(data["sigma"]) for name, data in sets.items()},
    )


def draw_intensity(
    degradation: Degradation, rng: np.random.Generator, *, dataset: str | None = None, free: bool = False
) -> DrawnIntensity:
    """Draw (mu, sigma) as the published data factory does (spec: creation of GenDS).

    A data set by weight (or `dataset`), a mu bin by its counts, sigma from the joint row of that bin, each
    uniform inside its bin. With `free`, mu and sigma are independent and uniform over the data set's range.

    Raises:
        ValueError: the degradation has no data set called `dataset`.
    """
    histogram = published_histogram(degradation)
    if dataset is None:
        names = list(histogram.dataset_weights)
        dataset = names[rng.choice(len(names), p=list(histogram.dataset_weights.values()))]
    elif dataset not in histogram.mu_counts:
        known = ", ".join(histogram.mu_counts)
        raise ValueError(f"{degradation.label} has no data set {dataset!r}; choose one of {known}")
    mu_counts = histogram.mu_counts[dataset]
    if free:
        mu = rng.uniform(*_range(mu_counts, MU_EDGES))
        sigma = rng.uniform(*_range(histogram.sigma_counts[dataset], SIGMA_EDGES))
        return DrawnIntensity(mu, sigma, dataset, free)
    mu_bin = _draw_bin(mu_counts, rng)
    sigma_bin = _draw_bin(histogram.joint[mu_bin], rng)
    mu = rng.uniform(MU_EDGES[mu_bin], MU_EDGES[mu_bin + 1])
    sigma = rng.uniform(SIGMA_EDGES[sigma_bin], SIGMA_EDGES[sigma_bin + 1])
    return DrawnIntensity(mu, sigma, dataset, free)


def draw_sigma_given_mu(degradation: Degradation, mu: float, rng: np.random.Generator) -> float:
    """Draw sigma from the joint row of mu's bin, or of the nearest bin that the published data filled.

    Never above sqrt(mu * (1 - mu)): no map in [0, 1] of that mean can spread further.
    """
    joint = published_histogram(degradation).joint
    sigma_bin = _draw_bin(joint[_nearest_filled(joint.sum(1), bin_index(mu, MU_EDGES))], rng)
    sigma = rng.uniform(SIGMA_EDGES[sigma_bin], SIGMA_EDGES[sigma_bin + 1])
    return float(min(sigma, np.sqrt(mu * (1 - mu))))


def draw_mu_given_sigma(degradation: Degradation, sigma: float, rng: np.random.Generator) -> float:
    """Draw mu from the joint column of sigma's bin, or of the nearest bin that the published data filled.

    Always with mu * (1 - mu) >= sigma**2, as a map in [0, 1] that spreads by sigma has it.
    """
    joint = published_histogram(degradation).joint
    mu_bin = _draw_bin(joint[:, _nearest_filled(joint.sum(0), bin_index(sigma, SIGMA_EDGES))], rng)
    mu = rng.uniform(MU_EDGES[mu_bin], MU_EDGES[mu_bin + 1])
    reach = np.sqrt(0.25 - sigma**2)
    return float(np.clip(mu, 0.5 - reach, 0.5 + reach))


def is_free(counter: int, every: int = 20) -> bool:
    """Whether sample `counter` (from 0) is one of the free ones: every N-th, starting with the first."""
    return every > 0 and counter % every == 0


def _nearest_filled(counts: np.ndarray, index: np.ndarray) -> int:
    filled = np.flatnonzero(counts)
    return int(filled[np.abs(filled - index).argmin()])


def _draw_bin(counts: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(BINS, p=counts / counts.sum()))


def _range(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    filled = np.flatnonzero(counts)
    return float(edges[filled[0]]), float(edges[filled[-1] + 1])
