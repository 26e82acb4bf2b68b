"""Blurs along told lines, which a denoiser mixes place by place.

A network that predicts a kernel along a line for every place learns motion blur where one that predicts
pixels learns defocus (Brooks & Barron 2019, Learning to Synthesize Motion Blur).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.compiler.disable()  # on a CPU its gathers take three times as long compiled
def line_blurs(photo: Tensor, layout: Tensor, count: int) -> Tensor:
    """Averages of the photo along the line through each place, each about twice as long as the one before.

    Number k averages 2**(k + 1) points one pixel apart, half of them on either side: each is the one before,
    averaged with itself moved forth and back.

    Args:
        photo: (B, C, H, W).
        layout: (B, 3, H, W) of motion (`gendeg_core.scatter.motion`); of it the direction counts alone.

    Returns:
        (B, count, C, H, W).
    """
    height, width = photo.shape[-2:]
    angle = torch.atan2(layout[:, 1], layout[:, 2]) / 2
    step = torch.stack([angle.cos() * (2 / width), angle.sin() * (2 / height)], -1)  # of one pixel
    y = (2 * torch.arange(height, device=photo.device) + 1) / height - 1
    x = (2 * torch.arange(width, device=photo.device) + 1) / width - 1
    here = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)

    def moved(image: Tensor, pixels: float) -> Tensor:
        return F.grid_sample(image, here + pixels * step, padding_mode="border", align_corners=False)

    blurs = [photo]
    for number in range(count):
        distance = 2.0 ** (number - 1)
        blurs.append((moved(blurs[-1], distance) + moved(blurs[-1], -distance)) / 2)
    return torch.stack(blurs[1:], 1)
