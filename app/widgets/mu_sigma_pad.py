"""A two-dimensional pad that sets mu and sigma at once, drawn over the published joint histogram."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from app.widgets.parts import parts
from gendeg_core.types import MU_MAX, SIGMA_MAX


class MuSigmaPad(gr.HTML):
    """Value: `[mu, sigma]`. Events: `input` while dragging or on a key, `release` at the end of a gesture.

    Args:
        value: mu and sigma at the start.
        heat: the background, made by `figures.histogram_background`.
        obtained: mu and sigma measured on the last result, drawn as a ring; None for no ring.
    """

    def __init__(
        self,
        value: list[float] | None = None,
        *,
        heat: dict[str, Any] | None = None,
        obtained: list[float] | None = None,
        **arguments: Any,
    ) -> None:
        # set before: an unknown attribute that the script names in quotes would be taken for an event
        self.heat, self.obtained = heat, obtained
        super().__init__(
            value,  # pyright: ignore[reportArgumentType]
            **parts("mu_sigma_pad"),
            heat=heat,
            obtained=obtained,
            ranges=[0.0, MU_MAX, 0.0, SIGMA_MAX],
            step=0.001,
            key_step=0.005,
            **arguments,
        )

    def preprocess(self, payload: Any) -> Any:
        """Two finite numbers or None, or a sentence: what comes from a browser is never trusted."""
        if payload is None:
            return None
        try:
            mu, sigma = (float(number) for number in payload)
        except (TypeError, ValueError):
            raise gr.Error(f"the pad holds two numbers, mu and sigma, got {payload!r}") from None
        if not (math.isfinite(mu) and math.isfinite(sigma)):
            raise gr.Error(f"mu={mu} and sigma={sigma} must be finite numbers")
        return [mu, sigma]

    def api_info(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "number"}}
