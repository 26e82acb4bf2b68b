"""Several versions of one photo under one shared pan and zoom, with a magnified patch of each."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.data_classes import GradioModel, ImageData

from app.widgets.parts import parts

PATCH_SIZES = (0.25, 0.125, 0.0625)  # width of the patch as a share of the picture's


class Pane(GradioModel):
    """One version: its picture once it exists, short facts as badges, and a note below."""

    title: str
    badges: list[str] = []
    note: str = ""
    image: ImageData | None = None  # None: not computed yet


class Panes(GradioModel):
    """All versions. `photo` names what is shown: with another one, the view goes back to the whole picture.

    `patch` holds the centre (x, y) and the width of the magnified patch, as shares of the picture.
    """

    photo: str = ""
    width: int = 1
    height: int = 1
    patch: list[float] = [0.5, 0.5, PATCH_SIZES[1]]
    panes: list[Pane] = []


class ZoomGrid(gr.HTML):
    """Value: `Panes`. A click on a picture fires `select` with x, y and size of the patch it marks."""

    data_model = Panes

    def __init__(self, value: Panes | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("zoom_grid"), **arguments)  # pyright: ignore[reportArgumentType]

    def preprocess(self, payload: Any) -> Any:
        return payload

    def postprocess(self, value: Panes | None) -> Panes | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
