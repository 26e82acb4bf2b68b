"""A map of photos: thousands of points on a canvas, with hover, legend, zoom, drag and keys."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.widgets.parts import parts
from gendeg_core.embed.figures import SCALE, UNKNOWN, colours_of

STEPS = 64  # colours of a scale
MOST_NAMES = 255  # a colour is one byte


class Scatter(gr.HTML):
    """Value: made by `scatter_value`. Event `select`: a photo or star was clicked or reached by arrow keys.

    `picked` reads the event.
    """

    def __init__(self, value: dict[str, Any] | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("scatter"), **arguments)  # pyright: ignore[reportArgumentType]

    def preprocess(self, payload: Any) -> Any:
        return payload

    def postprocess(self, value: dict[str, Any] | None) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


def scatter_value(
    points: ArrayLike,
    colour: Sequence[str] | NDArray[np.floating],
    *,
    colour_label: str = "",
    tips: Sequence[str] | None = None,
    stars: Sequence[tuple[float, float, str]] = (),
    selected: int | None = None,
    key: str = "",
) -> dict[str, Any]:
    """The value of a `Scatter`.

    Args:
        points: (N, 2).
        colour: a name or a number per point; names make a legend to click, numbers a scale, nan is grey.
        colour_label: what the numbers are.
        tips: a line per point, shown on hover.
        stars: x, y and a line of photos that the visitor added.
        selected: the point with a ring.
        key: names the map; while it stays, so does the part of the map that the visitor looks at.

    Raises:
        ValueError: lengths that differ, or more than 255 names.
    """
    places = np.ascontiguousarray(points, dtype="<f4").reshape(-1, 2)
    for what, values in (("colours", colour), ("tips", tips)):
        if values is not None and len(values) != len(places):
            raise ValueError(f"{len(values)} {what} for {len(places)} points; give one each")
    numeric = isinstance(colour, np.ndarray) and np.issubdtype(colour.dtype, np.number)
    painted = _scaled(colour, colour_label) if numeric else _named([str(name) for name in colour])
    return {
        **painted,
        "key": key,
        "count": len(places),
        "points": _base64(places),
        "tips": list(tips) if tips is not None else None,
        "stars": [{"x": float(x), "y": float(y), "label": label} for x, y, label in stars],
        "selected": selected,
    }


def picked(event: gr.EventData, count: int, stars: int = 0) -> tuple[int, bool]:
    """Which point (False) or star (True) a `select` event means; what a browser sends is never trusted."""
    index, star = getattr(event, "index", None), getattr(event, "star", False)
    most = stars if star is True else count
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < most:
        raise gr.Error(f"the map has no photo {index!r}; choose one that it shows")
    return index, star is True


def _named(names: list[str]) -> dict[str, Any]:
    colours = colours_of(names)
    if len(colours) > MOST_NAMES:
        raise ValueError(f"{len(colours)} names are too many for a legend; colour by something else")
    place = {name: at for at, name in enumerate(colours)}
    return {
        "codes": _base64(np.array([place[name] for name in names], dtype=np.uint8)),
        "palette": list(colours.values()),
        "names": [name.replace("_", " ") or "unknown" for name in colours],
        "scale": None,
    }


def _scaled(values: Any, label: str) -> dict[str, Any]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
    share = (np.where(known, values, low) - low) / ((high - low) or 1.0)
    codes = np.where(known, np.minimum(share * STEPS, STEPS - 1), STEPS).astype(np.uint8)
    ramp = [to_hex(colour) for colour in colormaps[SCALE](np.linspace(0, 1, STEPS))]
    return {
        "codes": _base64(codes),
        "palette": [*ramp, UNKNOWN],
        "names": None,
        "scale": {"label": label, "low": low, "high": high, "steps": STEPS},
    }


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
