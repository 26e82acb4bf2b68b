"""Figures of an audit report, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gendeg_core.dataset.audit_numbers import Calibration, KindNumbers
from gendeg_core.statistics import MU_EDGES, SIGMA_EDGES, published_histogram
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
_MADE, _GUIDE = "#1f6f8b", "#8a8a8a"


def calibration_figure(kinds: dict[str, KindNumbers], quantity: str) -> bytes:
    """Obtained against asked mu or sigma: mean per bin of what was asked, bars of one standard deviation."""
    rows = -(-len(kinds) // COLUMNS)
    with _figure(10.5, 3.3 * rows) as (figure, png):
        for place, (name, kind) in enumerate(kinds.items(), 1):
            axes = figure.add_subplot(rows, COLUMNS, place)
            _curve(axes, kind.mu if quantity == "mu" else kind.sigma)
            axes.set_title(name.replace("_", " "), fontsize=10)
            axes.set_xlabel(f"{quantity} asked", fontsize=8)
            axes.set_ylabel(f"{quantity} obtained", fontsize=8)
    return png.getvalue()


def _curve(axes: Axes, calibration: Calibration) -> None:
    filled = calibration.count > 0
    asked, obtained = calibration.asked_mean[filled], calibration.mean[filled]
    spread = calibration.spread[filled]
    top = 1.05 * max([0.01, *asked, *(obtained + spread)])
    axes.plot([0, top], [0, top], color=_GUIDE, linewidth=1, linestyle="--")
    axes.errorbar(asked, obtained, yerr=spread, color=_MADE, marker="o", markersize=4, capsize=2, linewidth=1)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)


def histogram_figure(kinds: dict[str, KindNumbers]) -> bytes:
    """Joint histograms over mu and sigma: accepted rows on the left, the published ones on the right."""
    with _figure(8.5, 2.9 * len(kinds)) as (figure, png):
        for row, (name, kind) in enumerate(kinds.items()):
            published = published_histogram(Degradation.parse(name)).joint
            ends = _ends([kind.joint, published])
            for column, (joint, what) in enumerate(((kind.joint, "made"), (published, "published"))):
                axes = figure.add_subplot(len(kinds), 2, 2 * row + column + 1)
                _joint(axes, joint, ends)
                axes.set_title(f"{name.replace('_', ' ')}, {what} ({joint.sum():,})", fontsize=10)
    return png.getvalue()


def _ends(joints: Sequence[np.ndarray]) -> tuple[int, int]:
    """Bins of mu and sigma below which everything lies."""
    total = np.sum(joints, axis=0)
    last = [int(np.flatnonzero(total.sum(axis))[-1]) if total.any() else 0 for axis in (1, 0)]
    return last[0] + 2, last[1] + 2


def _joint(axes: Axes, joint: np.ndarray, ends: tuple[int, int]) -> None:
    # Few rows have one count per bin; only a logarithm shows both these and the crowded bins.
    shares = np.where(joint > 0, np.log10(np.maximum(joint, 1)) + 0.3, np.nan)
    mu, sigma = MU_EDGES[: ends[0] + 1], SIGMA_EDGES[: ends[1] + 1]
    axes.pcolormesh(mu, sigma, shares[: len(mu) - 1, : len(sigma) - 1].T, cmap="viridis", vmin=0)
    axes.set_xlabel("mu", fontsize=8)
    axes.set_ylabel("sigma", fontsize=8)
    axes.tick_params(labelsize=7)


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure of that size in inches, and the file its PNG goes to when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    png = io.BytesIO()
    yield figure, png
    figure.savefig(png, format="png", dpi=100)
