"""Strength: the one number that takes a drawn degradation from nothing (0) to its full effect (1).

`solve_strength` inverts mu(strength), the mean of |degraded - clean|, which rises with the strength.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Render = Callable[[float], Tensor]  # strength in [0, 1] -> degraded (3, H, W) in [0, 1]; 0 is the clean image
Family = Callable[[Tensor, torch.Generator], Render]  # draws every parameter and pattern once


@dataclass(frozen=True)
class LaidOut:
    """A rendering that knows where what it shows lies; called with a strength as any other.

    Args:
        render: the picture at a strength.
        layout: what an expert denoiser is told of it at a strength, (3, H, W) in [-1, 1].
    """

    render: Render
    layout: Callable[[float], Tensor]

    def __call__(self, strength: float) -> Tensor:
        return self.render(strength)


def finish(clean: Tensor, raw: Render) -> Render:
    """Wrap a family's formula: strength 0 is exactly the clean image, the range is kept.

    Raises:
        ValueError: (from the returned function) the strength is outside 0 to 1.
    """

    def render(strength: float) -> Tensor:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength={strength} is outside 0 to 1; choose a value inside")
        if strength == 0:
            return clean.clone()
        return raw(float(strength)).clamp(0, 1)

    return render


def solve_strength(
    render: Render, clean: Tensor, mu: float, *, tolerance: float = 1e-3, renders: int = 12
) -> float:
    """The strength at which the mean of |degraded - clean| is `mu`; 1 when even that is too little.

    Regula falsi with the Illinois rule: the root stays bracketed, and few renders are needed because
    mu(strength) is nearly a straight line for most families.

    Args:
        tolerance: accepted error of mu.
        renders: how many times `render` may be called at most.
    """
    if mu <= 0:
        return 0.0
    low, high = 0.0, 1.0
    low_error, high_error = -mu, _mean_change(render, clean, 1.0) - mu
    if high_error <= 0:
        return 1.0
    best, best_error = 1.0, high_error
    if mu < best_error:
        best, best_error = 0.0, mu
    last_side = 0
    for _ in range(renders - 1):
        if best_error <= tolerance:
            break
        middle = (low * high_error - high * low_error) / (high_error - low_error)
        error = _mean_change(render, clean, middle) - mu
        if abs(error) < best_error:
            best, best_error = middle, abs(error)
        if error < 0:
            low, low_error = middle, error
            high_error = high_error / 2 if last_side == -1 else high_error
            last_side = -1
        else:
            high, high_error = middle, error
            low_error = low_error / 2 if last_side == 1 else low_error
            last_side = 1
    return best


def _mean_change(render: Render, clean: Tensor, strength: float) -> float:
    return (render(strength) - clean).abs().mean().item()
