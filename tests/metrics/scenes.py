"""Drawn images for the metrics' tests."""

from __future__ import annotations

import torch
from torch import Tensor

from gendeg_core.seeds import torch_generator


def scene(height: int, width: int, seed: int = 0) -> Tensor:
    """(3, height, width) in [0, 1]: slopes, waves and boxes, so that windows differ in mean and contrast."""
    generator = torch_generator(seed)
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None]
    phase = torch.rand(3, generator=generator)
    waves = [(6.3 * (4 * x * (1 + p) + 3 * y * y + p)).sin() * 0.2 + 0.3 + 0.3 * y * p for p in phase]
    image = torch.stack(waves)
    for _ in range(12):
        top, left = (int(torch.randint(0, n, (), generator=generator)) for n in (height, width))
        colour = torch.rand((3, 1, 1), generator=generator)
        image[:, top : top + height // 6 + 1, left : left + width // 6 + 1] = colour
    return image.clamp(0, 1)


def noisy(image: Tensor, amount: float, seed: int = 1) -> Tensor:
    noise = torch.randn(image.shape, generator=torch_generator(seed))
    return (image + amount * noise).clamp(0, 1)
