"""The map as a figure for a paper, and the colours that it shares with the map on screen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

# Told apart in the common forms of colour blindness, on white and on dark (after Okabe and Ito).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#a05fa0", "#56b4e9", "#8c6d31", "#d1495b")
UNKNOWN = "#94a3b8"
SCALE = "viridis"
MARKERS = ("o", "^", "s", "D", "v", "P")


def figure_format(path: Path) -> str:
    """The format that a file name asks for.

    Raises:
        ValueError: another ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise ValueError(f"{path} ends in none of {', '.join(FORMATS)}; choose such a name")
    return ending


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour per name, sorted, so that it does not depend on the order of photos; grey for no name."""
    known = sorted(set(names) - {""})
    colours = {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(known)}
    return {**colours, "": UNKNOWN} if "" in names else colours


def map_figure(
    points: ArrayLike,
    colour: Sequence[str] | NDArray[np.floating],
    *,
    colour_label: str = "",
    shapes: Sequence[str] | None = None,
    width: float = 3.5,
    file_format: str = "png",
) -> bytes:
    """Draw a map as an image file.

    Args:
        points: (N, 2).
        colour: a name or a number per point; names get a legend, numbers a scale, nan is grey.
        colour_label: written at the scale.
        shapes: a name per point that chooses its marker, such as its set.
        width: in inches; 3.5 is a column of a two-column page.
        file_format: png, pdf or svg.

    Raises:
        ValueError: lengths that differ, or an unknown format.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = np.asarray(points, dtype=np.float64)
    if len(colour) != len(places) or (shapes is not None and len(shapes) != len(places)):
        raise ValueError(f"{len(places)} points need as many colours and shapes")
    if file_format not in FORMATS:
        raise ValueError(f"unknown format {file_format!r}; choose one of {', '.join(FORMATS)}")
    # Text stays text in vector files, and the same map gives the same bytes.
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "map", "font.size": 7}):
        figure = Figure(figsize=(width, width), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _bare(axes)
        _draw(figure, axes, places, colour, colour_label, shapes)
        stamp = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[file_format]
        file = io.BytesIO()
        figure.savefig(file, format=file_format, dpi=300, metadata=stamp)
    return file.getvalue()


def _bare(axes: Axes) -> None:
    """No ticks: the axes of t-SNE have no unit and no direction."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for side in axes.spines.values():
        side.set_linewidth(0.5)
        side.set_color("#cbd5e1")


def _draw(
    figure: Figure,
    axes: Axes,
    places: NDArray[np.float64],
    colour: Sequence[str] | NDArray[np.floating],
    colour_label: str,
    shapes: Sequence[str] | None,
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgba_array

    size = float(np.clip(6000 / max(len(places), 1), 2, 14))
    if isinstance(colour, np.ndarray) and np.issubdtype(colour.dtype, np.number):
        known = np.isfinite(colour)
        low, high = (
            (float(np.min(colour[known])), float(np.max(colour[known]))) if known.any() else (0.0, 1.0)
        )
        scale = ScalarMappable(Normalize(low, high), SCALE)
        paint = to_rgba_array([UNKNOWN] * len(places))
        paint[known] = scale.to_rgba(colour[known])
        bar = figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.02, label=colour_label)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    else:
        chosen = colours_of([str(name) for name in colour])
        paint = to_rgba_array([chosen[str(name)] for name in colour])
        for name, hue in chosen.items():
            axes.scatter([], [], s=14, color=hue, label=name.replace("_", " ") or "unknown")
    _scatter(axes, places, paint, size, shapes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, handletextpad=0.2, columnspacing=1)


def _scatter(
    axes: Axes,
    places: NDArray[np.float64],
    paint: NDArray[np.float64],
    size: float,
    shapes: Sequence[str] | None,
) -> None:
    names = np.asarray(shapes if shapes is not None else [""] * len(places))
    kinds = list(dict.fromkeys(names.tolist()))
    order = np.random.default_rng(0).permutation(len(places))  # no set lies on top of all others
    for at, name in enumerate(kinds):
        chosen = order[names[order] == name]
        axes.scatter(
            places[chosen, 0],
            places[chosen, 1],
            s=size,
            c=paint[chosen],
            marker=MARKERS[at % len(MARKERS)],
            linewidths=0,
            alpha=0.75,
            rasterized=len(places) > 5000,
        )
        if len(kinds) > 1:
            marker = MARKERS[at % len(MARKERS)]
            axes.scatter([], [], s=14, color="#334155", marker=marker, label=name or "unnamed set")
