"""What DA-CLIP sees of a training pair: a crop, the same in both images, resized to the network's input."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AREA = 0.9  # least share of the area kept, as published


def training_views(
    batch: Any, size: int, crop: float, smallest: int, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Degraded and clean images (B, 3, size, size) in [0, 1].

    Args:
        batch: pairs, uint8 (B, 3, S, S) under "degraded" and "clean".
        crop: chance of a square crop before everything else, which makes the embedding robust: the
            degradation must be told from any part, at any scale.
        smallest: least side of such a crop.
        draws: all randomness.
    """
    both = torch.cat([batch["degraded"], batch["clean"]], 1).float() / 255
    side = both.shape[-1]
    numbers = torch.rand(len(both), 5, generator=draws).tolist()
    views = []
    for pair, (chance, how_large, area, down, across) in zip(both, numbers, strict=True):
        least = min(smallest, side)
        square = least + how_large * (side - least) if chance < crop else side
        square = max(round(square * math.sqrt(AREA + (1 - AREA) * area)), 1)
        top, left = (round(part * (side - square)) for part in (down, across))
        views.append(resized(pair[None, :, top : top + square, left : left + square], size))
    degraded, clean = torch.cat(views).chunk(2, 1)
    return degraded, clean


def resized(images: Tensor, size: int) -> Tensor:
    """Squares (B, C, S, S) in [0, 1] as (B, C, size, size), bicubic with antialiasing."""
    if images.shape[-1] == size:
        return images
    shape = (size, size)
    return F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
