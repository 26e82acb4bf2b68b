"""Numbers to pictures: the degradation map as a heat image with a scale, and the histogram behind the pad."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from gendeg_core.statistics import published_histogram
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

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
