"""Asked against obtained: a small table with the difference and a bar per number."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.widgets.parts import parts
from gendeg_core.types import MU_MAX, SIGMA_MAX, DegradationResult


class Readout(gr.HTML):
    """Value: the dictionary made by `readout_value`, or None for an empty table."""

    def __init__(self, value: dict[str, Any] | None = None, **arguments: Any) -> None:
        super().__init__(value, **parts("readout"), **arguments)  # pyright: ignore[reportArgumentType]

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


def readout_value(result: DegradationResult) -> dict[str, Any]:
    """What the table shows of one result."""
    request = result.request
    return {
        "rows": [
            {"name": "strength (mu)", "asked": request.mu, "obtained": result.mu_obtained, "top": MU_MAX},
            {
                "name": "unevenness (sigma)",
                "asked": request.sigma,
                "obtained": result.sigma_obtained,
                "top": SIGMA_MAX,
            },
        ]
    }
