"""The photo box: upload, drop or paste; hands over the untouched file instead of a re-encoded picture."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData


class PhotoInput(gr.Image):
    """`gr.Image` whose handlers get the path of the file as it was uploaded.

    The stock component decodes first: it cuts 16 bit, drops alpha and answers a damaged file with a technical
    message. Here the one loader of the core does all of that.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "clipboard"],
            buttons=[],
            **arguments,
        )

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None

    def get_block_name(self) -> str:
        return "image"

    def get_config(self, cls: type | None = None) -> dict[str, Any]:
        """The settings the browser gets: those of `gr.Image`, whose arguments this class passes on."""
        return super().get_config(cls or gr.Image)
