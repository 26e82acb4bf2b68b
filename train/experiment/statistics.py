"""Means over test images with their uncertainty: which photos were tested, and which seed was trained.

An interval is the percentile bootstrap over images, the seeds' mean taken per image first. Averages over
several groups (degradations, data sets) give each group the same weight and resample inside each. Gains are
differences image by image, so that hard and easy photos cancel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gendeg_core.metrics.bootstrap import Interval, interval, resampled_means
from train.experiment.config import ExperimentConfig
from train.experiment.jobs import Data, Run
from train.experiment.testing import REAL, Score

METRICS = ("psnr", "ssim")


@dataclass(frozen=True)
class Column:
    """A part of the test images, in groups that weigh the same: (index into the images) per group."""

    name: str
    groups: tuple[np.ndarray, ...]

    @property
    def images(self) -> int:
        return sum(len(group) for group in self.groups)


@dataclass(frozen=True)
class Summary:
    """A mean over images and seeds, its interval over images, and the mean of each seed."""

    interval: Interval
    seeds: tuple[float, ...]


class Results:
    """Scores of all runs on the same images.

    Args:
        untouched: of the degraded images themselves.
        runs: of every run.
    """

    def __init__(self, untouched: Sequence[Score], runs: Mapping[Run, Sequence[Score]]) -> None:
        self.images = list(untouched)
        names = [score.name for score in untouched]
        for run, rows in runs.items():
            if [score.name for score in rows] != names:
                raise ValueError(f"{run.name} was tested on other images; remove its scores.csv and repeat")
        self._scores = {run: list(rows) for run, rows in runs.items()}

    def seeds(self, model: str, data: Data, synthetic: int) -> list[Run]:
        """The runs that differ in nothing but the seed."""
        wanted = model, data, synthetic
        return [run for run in self._scores if (run.model, run.data, run.synthetic) == wanted]

    def kinds(self, model: str) -> list[tuple[Data, int]]:
        """Training data of the runs of this model, and how many pairs of it are synthetic."""
        return list(dict.fromkeys((run.data, run.synthetic) for run in self._scores if run.model == model))

    def values(self, runs: Sequence[Run], metric: str) -> np.ndarray:
        """(runs, images); the degraded images themselves for no run."""
        tables = [self._scores[run] for run in runs] or [self.images]
        return np.array([[getattr(score, metric) for score in rows] for rows in tables])

    def column(self, name: str, *, test: str, by: Sequence[str], **only: str) -> Column:
        """All images of `test` with these attributes, grouped by the attributes `by`."""
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, score in enumerate(self.images):
            if score.test == test and all(getattr(score, key) == value for key, value in only.items()):
                groups.setdefault(tuple(getattr(score, key) for key in by), []).append(place)
        return Column(name, tuple(np.array(places) for places in groups.values()))


def summarise(values: np.ndarray, column: Column) -> Summary:
    """Of `values` (seeds, images)."""
    per_image = values.mean(0)
    draws = [resampled_means(per_image[g], f"{k} {column.name}") for k, g in enumerate(column.groups)]
    means = [values[:, group].mean(1) for group in column.groups]
    seeds = np.mean(means, 0)
    found = interval(float(seeds.mean()), np.mean(draws, 0), images=column.images)
    return Summary(found, tuple(float(mean) for mean in seeds))


def full_counts(config: ExperimentConfig) -> dict[Data, int]:
    """Synthetic pairs of each sort of data in the main comparison."""
    return {"existing": 0, "gends": config.pairs, "both": config.pairs}


def unseen_columns(results: Results) -> list[Column]:
    """Real sets, and the families left out by degradation; then the mean of each sort."""
    real = dict.fromkeys((s.degradation, s.source) for s in results.images if s.test == REAL)
    left_out = dict.fromkeys(s.degradation for s in results.images if s.test == "left-out")
    columns = [
        results.column(f"{kind} {source} (real pairs)", test=REAL, by=(), degradation=kind, source=source)
        for kind, source in real
    ]
    columns += [results.column(f"{k} (left-out)", test="left-out", by=(), degradation=k) for k in left_out]
    return columns + mean_columns(results)[1:]


def within_columns(results: Results) -> list[Column]:
    """Held photos under the existing families, by degradation; then their mean."""
    kinds = dict.fromkeys(s.degradation for s in results.images if s.test == "within")
    columns = [results.column(kind, test="within", by=(), degradation=kind) for kind in kinds]
    return columns + mean_columns(results)[:1]


def mean_columns(results: Results) -> list[Column]:
    """Means over degradations of the three tests; data sets of one degradation are pooled."""
    tests = dict.fromkeys(score.test for score in results.images)
    return [results.column(f"mean {test}", test=test, by=("degradation",)) for test in tests]
