"""How much of the published (mu, sigma) histograms the simulators reach.

`python -m gendeg_core.simulate.coverage PHOTOS [--samples 2000]` degrades square crops of the photos at
values of mu drawn from the published histogram, measures mu and sigma as published, and prints for each
degradation the share of the histogram's mass whose bin has a sample within two bins in both directions.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.simulate.photos import list_photos, load_square
from gendeg_core.simulate.sample import random_pair
from gendeg_core.statistics import (
    BINS,
    MU_EDGES,
    SIGMA_EDGES,
    bin_index,
    draw_intensity,
    measure,
    published_histogram,
)
from gendeg_core.types import Degradation

REACH = 2  # bins


@dataclass(frozen=True)
class Sample:
    """One simulated degradation: what was asked, what was measured, and who made it."""

    family: str
    mu_asked: float
    mu: float
    sigma: float


def draw_samples(
    photos: list[Path], degradation: Degradation, *, samples: int, size: int, seed: int
) -> list[Sample]:
    """Degrade `samples` crops at published values of mu; every sample has its own seed."""
    drawn = []
    for number in range(samples):
        item = sample_seed(seed, f"coverage/{degradation.value}/{number}")
        rng = np.random.default_rng(item)
        photo = load_square(photos[int(rng.integers(len(photos)))], size)
        asked = draw_intensity(degradation, rng).mu
        simulated = random_pair(photo, degradation, torch_generator(item), mu=asked)
        mu, sigma = measure(photo, simulated.degraded)
        drawn.append(Sample(simulated.family, asked, mu, sigma))
    return drawn


def covered_bins(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(128, 128) bool: bins with a sample (n,), (n,) within `REACH` bins in mu and in sigma."""
    covered = np.zeros((BINS, BINS), bool)
    for row, column in zip(bin_index(mu, MU_EDGES), bin_index(sigma, SIGMA_EDGES), strict=True):
        top, left = max(0, row - REACH), max(0, column - REACH)
        covered[top : row + REACH + 1, left : column + REACH + 1] = True
    return covered


def coverage(samples: list[Sample], degradation: Degradation) -> float:
    """Share of the published joint histogram's mass that the samples cover, 0 to 1."""
    joint = published_histogram(degradation).joint
    covered = covered_bins(np.array([s.mu for s in samples]), np.array([s.sigma for s in samples]))
    return float(joint[covered].sum() / joint.sum())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print how much of the published histograms is covered.")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--samples", type=int, default=2000, help="samples per degradation")
    parser.add_argument("--size", type=int, default=128, help="side of the crops in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=Degradation.parse, default=None, help="one degradation")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    photos = list_photos(given.photos)
    for degradation in [given.only] if given.only else list(Degradation):
        samples = draw_samples(photos, degradation, samples=given.samples, size=given.size, seed=given.seed)
        reached = np.mean([abs(s.mu - s.mu_asked) < 0.01 for s in samples])
        families = ", ".join(f"{name} {n}" for name, n in sorted(Counter(s.family for s in samples).items()))
        share = coverage(samples, degradation)
        sys.stdout.write(
            f"{degradation.value}: {100 * share:.1f} % of the published mass covered, "
            f"mu within 0.01 for {100 * reached:.0f} % of {len(samples)} samples ({families})\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
