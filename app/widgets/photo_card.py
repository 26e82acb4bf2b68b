"""The card of one photo on the map: pictures, what is known of it, and its nearest neighbours to click."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.widgets.parts import parts


class PhotoCard(gr.HTML):
    """Value: {title, pictures: [{title, src}], missing, rows: [[name, text]], neighbours: [{index, title,
    note, src}]} or None. Event `select`: a neighbour was clicked; its `index` is a row of the map."""

    def __init__(self, value: dict[str, Any] | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("photo_card"), **arguments)  # pyright: ignore[reportArgumentType]

    def preprocess(self, payload: Any) -> Any:
        return payload

    def postprocess(self, value: dict[str, Any] | None) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
