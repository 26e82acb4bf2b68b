"""A grid of result pictures with headings across and down: the sweep, and all six degradations at once."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.data_classes import GradioModel, ImageData

from app.widgets.parts import parts

class Tile(GradioModel):
    """One cell: a picture once it exists, what it was asked for and what was obtained."""

    title: str
    note: str = ""
    degradation: str
    mu: float
    sigma: float
    image: ImageData | None = None  # None: not computed yet

class Tiles(GradioModel):
    """Rows of tiles with an optional heading per column and per row."""

    columns: int
    column_heads: list[str] = []
    row_heads: list[str] = []
    tiles: list[Tile]

from gradio.events import Dependency

class TileGrid(gr.HTML):
    """Value: `Tiles`. A click or Enter on a tile fires `select` with its degradation, mu and sigma."""

    data_model = Tiles

    def __init__(self, value: Tiles | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("tile_grid"), **arguments)  # pyright: ignore[reportArgumentType]

    def preprocess(self, payload: Any) -> Any:
        return payload

    def postprocess(self, value: Tiles | None) -> Tiles | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
