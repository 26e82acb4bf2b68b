"""sRGB to linear light and back (IEC 61966-2-1)."""

from __future__ import annotations

import torch
from torch import Tensor


def to_linear(image: Tensor) -> Tensor:
    """sRGB values in [0, 1] to linear light in [0, 1]; any shape."""
    return torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """Linear light to sRGB values; negative light becomes 0, light above 1 is clipped."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055)
