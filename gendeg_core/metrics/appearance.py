"""What can be said of one picture when nobody knows how it should look: four plain measurements.

None of them says "better": haze lowers contrast and so does fog that was there, noise raises detail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_NOISE_KERNEL = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


@dataclass(frozen=True)
class Appearance:
    """Measurements of one picture, all in units of its range [0, 1].

    Args:
        brightness: mean luma.
        contrast: standard deviation of luma.
        detail: mean absolute difference of luma between neighbouring pixels.
        noise: standard deviation of luma noise (Immerkaer 1996, "Fast Noise Variance Estimation").
    """

    brightness: float
    contrast: float
    detail: float
    noise: float


def appearance(image: Tensor) -> Appearance:
    """Measure (3, H, W) in [0, 1]; differences along a side of one pixel count as none."""
    luma = sum(weight * plane for weight, plane in zip(_LUMA, image, strict=True))
    assert isinstance(luma, Tensor), "three planes make one"
    steps = [luma.diff(dim=axis).abs() for axis in (0, 1)]
    count = sum(step.numel() for step in steps)
    detail = sum(float(step.sum()) for step in steps) / max(count, 1)
    return Appearance(float(luma.mean()), float(luma.std(correction=0)), detail, _noise(luma))


def _noise(luma: Tensor) -> float:
    """sqrt(pi / 2) times the mean of |luma * kernel| over 6, the kernel's own gain on white noise."""
    if min(luma.shape) < 3:
        return 0.0
    kernel = luma.new_tensor(_NOISE_KERNEL)[None, None]
    return math.sqrt(math.pi / 2) / 6 * float(F.conv2d(luma[None, None], kernel).abs().mean())
