"""Small random draws from one passed generator; every simulator takes its parameters through these."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def log_uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Uniform in the logarithm: as often between 1 and 2 as between 10 and 20."""
    return math.exp(uniform(generator, math.log(low), math.log(high)))


def integer(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator).item())


def chance(generator: torch.Generator, probability: float) -> bool:
    return torch.rand((), generator=generator).item() < probability


def uniforms(generator: torch.Generator, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """(count,) uniform numbers."""
    return low + (high - low) * torch.rand(count, generator=generator)


def normals(generator: torch.Generator, count: int) -> Tensor:
    """(count,) standard normal numbers."""
    return torch.randn(count, generator=generator)


def tint(generator: torch.Generator, spread: float) -> Tensor:
    """(3, 1, 1) small offsets from grey, warm to cold, with a mean near zero."""
    warm = uniform(generator, -spread, spread)
    green = uniform(generator, -spread, spread) * 0.3
    return torch.tensor([warm, green, -warm]).view(3, 1, 1)
