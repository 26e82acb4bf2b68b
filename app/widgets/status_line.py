"""One line that says what is happening, with a thin bar while something runs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.widgets.parts import parts


class StatusLine(gr.HTML):
    """Value: the dictionary made by `say`. The text is shown as text, never as markup."""

    def __init__(self, value: dict[str, Any] | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("status_line"), **arguments)  # pyright: ignore[reportArgumentType]

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


def say(text: str, share: float | None = None) -> dict[str, Any]:
    """A status: `share` from 0 to 1 while something runs, None when nothing does."""
    return {"text": text, "share": share}
