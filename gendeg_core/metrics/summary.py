"""From one row per image to one row per restorer and set: means, intervals, gains over the degraded input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gendeg_core.metrics.bootstrap import RESAMPLES, Interval, interval, resampled_means
from gendeg_core.metrics.choice import Metrics
from gendeg_core.metrics.columns import PairMetric, SetMetric

INPUT = "degraded input"  # what stands in a row's place of the model when nothing was restored
UNKNOWN = "unknown"  # degradation of pairs that nobody named one of
MEAN = "mean"  # degradation of the rows that average over degradations


@dataclass(frozen=True)
class ImageRow:
    """One image after one restorer.

    Args:
        name: of the pair.
        degradation, group: what it shows, and which set of pairs it belongs to.
        model, weights: the restorer; "degraded input" and nothing for the image as it came.
        width, height: in pixels.
        tile: side of the tiles it was restored in; None for one piece.
        seconds: for the restoration.
        values: of the metrics per pair; None where the image is too small.
        features: of the metrics per set, by the metric's name: (restored, clean), each (D,).
    """

    name: str
    degradation: str
    group: str
    model: str
    weights: str
    width: int
    height: int
    tile: int | None
    seconds: float
    values: dict[str, float | None]
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Cell:
    """One number of the table.

    Args:
        value: with its interval, which is nan where there is none (distances of sets, single images).
        gain: over the degraded input, on the same images, positive is better; None for the input itself,
            for distances of sets, and where the input was not measured.
        images: how many it is of.
    """

    value: Interval
    images: int
    gain: Interval | None = None


@dataclass(frozen=True)
class SummaryRow:
    """One restorer on one set of pairs, or its mean over degradations.

    Args:
        cells: by the name of the metric; a sentence where it could not be measured.
        sizes: of the images, such as 384x256, or 320x214 to 384x256 by pixels.
        tiles: sides of the tiles, "whole" for one piece, nothing for the degraded input.
        seconds: mean per image.
    """

    degradation: str
    group: str
    model: str
    weights: str
    images: int
    sizes: str
    tiles: str
    seconds: float
    cells: dict[str, Cell | str]


def summarise(
    rows: Iterable[ImageRow], metrics: Metrics, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[SummaryRow]:
    """One row per set and restorer in the order they came, then the means over degradations.

    The mean averages the sets inside a degradation first, then the degradations; its interval comes from
    resampling the images inside each set.

    Args:
        seed: of the bootstrap.
    """
    sets: dict[tuple[str, str], dict[tuple[str, str], list[ImageRow]]] = {}
    for row in rows:
        set_of = sets.setdefault((row.degradation, row.group), {})
        set_of.setdefault((row.model, row.weights), []).append(row)
    counter = _Summary(metrics, seed, resamples)
    summary: list[SummaryRow] = []
    for restorers in sets.values():
        given = restorers.get((INPUT, ""))
        summary += [counter.of_set(images, given) for images in restorers.values()]
    if len(sets) > 1:
        candidates = dict.fromkeys(key for restorers in sets.values() for key in restorers)
        summary += [counter.of_all(list(sets.values()), candidate) for candidate in candidates]
    return summary


@dataclass(frozen=True)
class _Summary:
    """What all rows of one summary share."""

    metrics: Metrics
    seed: int
    resamples: int

    def of_set(self, rows: list[ImageRow], given: list[ImageRow] | None) -> SummaryRow:
        cells: dict[str, Cell | str] = {}
        for metric in self.metrics.pairs:
            cells[metric.column.name] = self._pair_cell(metric, [rows], [given] if given else None)
        for metric in self.metrics.sets:
            cells[metric.column.name] = _set_cell(metric, rows)
        return self._row(rows, rows[0].degradation, rows[0].group, cells)

    def of_all(
        self, sets: Sequence[dict[tuple[str, str], list[ImageRow]]], candidate: tuple[str, str]
    ) -> SummaryRow:
        """The mean over degradations of one restorer."""
        measured = [restorers for restorers in sets if candidate in restorers]
        groups = [restorers[candidate] for restorers in measured]
        given = [restorers.get((INPUT, ""), []) for restorers in measured]
        cells: dict[str, Cell | str] = {}
        for metric in self.metrics.pairs:
            cells[metric.column.name] = self._pair_cell(metric, groups, given if all(given) else None)
        for metric in self.metrics.sets:
            cells[metric.column.name] = _mean_of_sets(metric, groups)
        rows = [row for group in groups for row in group]
        return self._row(rows, MEAN, f"{len({row.degradation for row in rows})} degradations", cells)

    def _pair_cell(
        self, metric: PairMetric, groups: list[list[ImageRow]], given: list[list[ImageRow]] | None
    ) -> Cell | str:
        name = metric.column.name
        values = [_values(rows, name) for rows in groups]
        if not all(len(v) for v in values):
            return f"not measured: no image with {metric.smallest} pixels on each side"
        count = sum(len(v) for v in values)
        gain = None
        if given is not None and groups[0][0].model != INPUT:
            sign = 1 if metric.column.better == "higher" else -1
            differences = [
                sign * (v - _values(before, name)) for v, before in zip(values, given, strict=True)
            ]
            gain = self._interval(differences, groups)
        return Cell(self._interval(values, groups), count, gain)

    def _interval(self, values: list[np.ndarray], groups: list[list[ImageRow]]) -> Interval:
        """Mean of the degradations' means of the sets' means, each set resampled by itself."""
        keys = [f"{rows[0].degradation}/{rows[0].group}" for rows in groups]
        draws = [
            resampled_means(v, key, seed=self.seed, resamples=self.resamples)
            for v, key in zip(values, keys, strict=True)
        ]
        kinds = [rows[0].degradation for rows in groups]
        mean = float(_mean_by(kinds, [v.mean() for v in values]))
        # a set of one image does not vary when it is resampled, so it alone cannot make an interval
        return interval(mean, _mean_by(kinds, draws), images=max(len(v) for v in values))

    def _row(
        self, rows: list[ImageRow], degradation: str, group: str, cells: dict[str, Cell | str]
    ) -> SummaryRow:
        first = rows[0]
        not_measured = {name: f"not measured: {why}" for name, why in self.metrics.missing.items()}
        found = cells | not_measured
        return SummaryRow(
            degradation,
            group,
            first.model,
            first.weights,
            len(rows),
            _sizes(rows),
            _tiles(rows),
            float(np.mean([row.seconds for row in rows])),
            {name: found[name] for name in self.metrics.names},
        )


def _values(rows: list[ImageRow], name: str) -> np.ndarray:
    return np.array([value for row in rows if (value := row.values[name]) is not None], np.float64)


def _mean_by(kinds: list[str], items: Sequence[Any]) -> np.ndarray:
    """Mean over kinds of the means of their items, which are numbers or arrays of one shape."""
    means = [
        np.mean([item for item, k in zip(items, kinds, strict=True) if k == kind], axis=0)
        for kind in dict.fromkeys(kinds)
    ]
    return np.mean(means, axis=0)


def _set_cell(metric: SetMetric, rows: list[ImageRow]) -> Cell | str:
    name = metric.column.name
    if len(rows) < metric.smallest:
        return f"not measured: a set needs {metric.smallest} images and has {len(rows)}"
    restored, clean = (np.stack([row.features[name][side] for row in rows]) for side in (0, 1))
    return Cell(Interval(metric.distance(restored, clean), float("nan"), float("nan")), len(rows))


def _mean_of_sets(metric: SetMetric, groups: list[list[ImageRow]]) -> Cell | str:
    cells = [_set_cell(metric, rows) for rows in groups]
    sentences = [cell for cell in cells if isinstance(cell, str)]
    if sentences:
        return f"not measured: not for every set ({sentences[0].removeprefix('not measured: ')})"
    values = [cell.value.mean for cell in cells if isinstance(cell, Cell)]
    mean = float(_mean_by([rows[0].degradation for rows in groups], values))
    return Cell(Interval(mean, float("nan"), float("nan")), sum(len(rows) for rows in groups))


def _sizes(rows: list[ImageRow]) -> str:
    sizes = sorted({(row.width, row.height) for row in rows}, key=lambda size: (size[0] * size[1], size))
    first, last = (f"{width}x{height}" for width, height in (sizes[0], sizes[-1]))
    return first if len(sizes) == 1 else f"{first} to {last}"


def _tiles(rows: list[ImageRow]) -> str:
    tiles = sorted({row.tile or 0 for row in rows if row.model != INPUT})
    return ", ".join(str(tile) if tile else "whole" for tile in tiles)
