"""Numbers to pictures: the degradation map as a heat image with a scale, and the histogram behind the pad."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendeg_core.statistics import published_histogram
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

    from app.restore_session import GalleryRow

# The scale jumps between a few round values, so that it stands still while a slider moves a little.
SCALE_TOPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
COLOUR_MAP = "inferno"
SCALE_INK = "#7c8798"


@functools.cache
def histogram_background(degradation: Degradation) -> dict[str, Any]:
    """The published joint histogram as opacity, one base64 byte per cell: mu across, largest sigma on top.

    Counts span four orders of magnitude, so opacity follows their logarithm.
    """
    counts = np.log1p(published_histogram(degradation).joint.astype(np.float64))
    opacity = np.round(counts / counts.max() * 210).astype(np.uint8)
    rows = np.ascontiguousarray(opacity.T[::-1])
    return {
        "width": rows.shape[1],
        "height": rows.shape[0],
        "data": base64.b64encode(rows.tobytes()).decode("ascii"),
    }


def scale_top(values: np.ndarray) -> float:
    """The upper end of the colour scale: the first round value that holds 99.5 % of the pixels."""
    reach = float(np.quantile(values, 0.995))
    return next((top for top in SCALE_TOPS if reach <= top), SCALE_TOPS[-1])


def heat_map(degradation_map: Tensor) -> Image:
    """A degradation map (3, H, W) as a heat image, averaged over colours, with a scale bar below.

    Only matplotlib's objects are used: pyplot keeps global state and is not safe with several users.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    values = degradation_map.mean(0).cpu().numpy()
    height, width = values.shape
    top = scale_top(values)
    picture_width, bar_height = 6.0, 0.55  # inches
    # Very long or very tall photos keep their shape inside a bounded figure.
    picture_height = min(max(picture_width * height / width, 1.0), 9.0)
    total = picture_height + bar_height
    # No ground and mid-grey letters: the scale reads on a light and on a dark page.
    figure = Figure(figsize=(picture_width, total), dpi=100, facecolor="none")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, bar_height / total, 1, picture_height / total))
    axes.set_axis_off()
    shown = axes.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=top, interpolation="nearest")
    bar_axes = figure.add_axes((0.05, 0.30 / total, 0.90, 0.15 / total))
    bar = figure.colorbar(shown, cax=bar_axes, orientation="horizontal", extend="neither")
    bar.set_ticks(list(np.linspace(0, top, 6)))
    bar.ax.tick_params(labelsize=10, length=2, pad=2, color=SCALE_INK, labelcolor=SCALE_INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()).copy())


def gallery_figure(rows: Sequence[GalleryRow], *, dpi: int, path: Path | None = None) -> np.ndarray:
    """Photos below each other, versions side by side: the whole picture with a box, the boxed patch below it.

    Columns are the union of the rows' versions, the clean photo last; a version that a row lacks stays empty.

    Args:
        path: where to write the figure as well, PNG or PDF by its ending.

    Returns:
        The figure as bytes (h, w, 3) on white.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(title for row in rows for title in row.cells if title != "Clean"))
    titles += ["Clean"] if any("Clean" in row.cells for row in rows) else []
    cell, gap, head, note = 2.1, 0.06, 0.42, 0.2  # inches
    shapes = [next(iter(row.cells.values()))[0].shape for row in rows]
    heights = [cell * height / width for height, width, _ in shapes]
    total_width = len(titles) * (cell + gap) - gap + 0.2
    total_height = head + sum(height + cell / 2 + note + 2 * gap for height in heights) + 0.05
    figure = Figure(figsize=(total_width, total_height), dpi=dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)

    def place(left: float, top: float, width: float, height: float) -> Any:
        """Axes at a place given in inches from the top left corner."""
        bottom = total_height - top - height
        axes = figure.add_axes(
            (left / total_width, bottom / total_height, width / total_width, height / total_height)
        )
        axes.set_axis_off()
        return axes

    for column, title in enumerate(titles):
        left = 0.1 + column * (cell + gap)
        _write(figure, (left + cell / 2) / total_width, 1 - head / 2 / total_height, wrapped(title), 9)
        top = head
        for row, height in zip(rows, heights, strict=True):
            if title in row.cells:
                whole, patch, text = row.cells[title]
                _picture_with_box(place(left, top, cell, height), whole, row.box)
                place(left, top + height + gap / 2, cell, cell / 2).imshow(
                    patch, interpolation="nearest", aspect="auto"
                )
                base = 1 - (top + height + gap / 2 + cell / 2 + note / 2) / total_height
                _write(figure, (left + cell / 2) / total_width, base, text, 8)
            top += height + cell / 2 + note + 2 * gap
    canvas.draw()
    if path is not None:
        figure.savefig(path)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _write(figure: Figure, x: float, y: float, text: str, size: float) -> None:
    # no mathematics: a dollar sign in the name of a visitor's file is a dollar sign
    figure.text(x, y, text, ha="center", va="center", fontsize=size, color="black", parse_math=False)


def wrapped(title: str) -> str:
    """A column heading of at most two lines."""
    name, comma, rest = title.partition(", ")
    lines = (name + comma, rest) if comma else (title, "")
    return "\n".join(line if len(line) <= 30 else f"{line[:29]}…" for line in lines if line)


def _picture_with_box(axes: Any, picture: np.ndarray, box: tuple[float, float, float, float]) -> None:
    from matplotlib.patches import Rectangle

    height, width, _ = picture.shape
    axes.imshow(picture, aspect="auto")
    left, top, across, down = box
    corner = (left * width - 0.5, top * height - 0.5)
    axes.add_patch(
        Rectangle(corner, across * width, down * height, fill=False, edgecolor="#e11d48", linewidth=1.4)
    )
