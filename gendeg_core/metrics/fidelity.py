"""How close a restored image is to the clean one: PSNR, SSIM, MS-SSIM.

All take RGB in [0, 1] and average over pixels and channels; nothing is converted to luma, no border is cut.
SSIM is that of `torchmetrics` with its defaults (Gaussian window of 11 pixels, standard deviation 1.5,
population moments, k1 0.01, k2 0.03, borders reflected), computed here in bands of rows and in double
precision: faster on a CPU, in little memory at any image size, and without importing torchmetrics. A test
holds the two together. MS-SSIM is torchmetrics' own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PSNR_OF_EQUAL = 100.0  # dB; what identical images get instead of infinity, so that means stay finite
SMALLEST_SSIM = 6  # pixels; the reflected border needs them
SMALLEST_MS_SSIM = 176  # pixels; the window has to fit into the last of five scales

_RADIUS = 5
_C1, _C2 = 0.01**2, 0.03**2
_BAND_PIXELS = 2**15  # a band and its window moments stay in the processor's cache


def as_stored(image: Tensor) -> Tensor:
    """The image as an 8-bit file would give it back: clamped to [0, 1], rounded to multiples of 1/255."""
    return image.float().clamp(0, 1).mul(255).round().div(255)


def psnr(restored: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio of (3, H, W) in [0, 1] in dB, at most 100 (identical images)."""
    _check(restored, clean, 1, "PSNR")
    error = float((restored.float() - clean.float()).square().mean(dtype=torch.float64))
    return min(PSNR_OF_EQUAL, -10 * math.log10(error)) if error > 0 else PSNR_OF_EQUAL


def ssim(restored: Tensor, clean: Tensor) -> float:
    """Structural similarity of (3, H, W) in [0, 1]: 1 for identical images; torchmetrics' definition, RGB."""
    _check(restored, clean, SMALLEST_SSIM, "SSIM")
    padded = F.pad(torch.stack([restored, clean]).float().cpu(), (_RADIUS,) * 4, mode="reflect")
    height, width = clean.shape[-2:]
    rows = max(1, _BAND_PIXELS // width)
    total = sum(
        float(_similarity(padded[:, :, top : top + rows + 2 * _RADIUS].double()).sum())
        for top in range(0, height, rows)
    )
    return total / clean.numel()


def ms_ssim(restored: Tensor, clean: Tensor) -> float:
    """Multi-scale structural similarity of (3, H, W) in [0, 1], torchmetrics' defaults, RGB, five scales."""
    _check(restored, clean, SMALLEST_MS_SSIM, "MS-SSIM")
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    value = multiscale_structural_similarity_index_measure(
        restored[None].double().cpu(), clean[None].double().cpu(), data_range=1.0
    )
    return float(value)


def _similarity(pair: Tensor) -> Tensor:
    """(2, 3, h + 10, w + 10) to the SSIM index of each of the 3 x h x w pixels inside."""
    x, y = pair
    mean_x, mean_y, xx, yy, xy = _windowed(torch.stack([x, y, x * x, y * y, x * y]))
    mean_xy = mean_x * mean_y
    means = mean_x.square() + mean_y.square()
    variances = xx - mean_x.square() + yy - mean_y.square()  # single precision would lose those of flat parts
    return (2 * mean_xy + _C1) * (2 * (xy - mean_xy) + _C2) / ((means + _C1) * (variances + _C2))


def _windowed(planes: Tensor) -> Tensor:
    """Gaussian-weighted means over 11 x 11 pixels, as eleven shifted additions along each axis."""
    for axis in (-2, -1):
        length = planes.shape[axis] - 2 * _RADIUS
        summed = planes.narrow(axis, _RADIUS, length) * _WEIGHTS[_RADIUS]
        for k in range(_RADIUS):  # the window is symmetric: the k-th neighbours on both sides weigh the same
            summed.add_(planes.narrow(axis, k, length), alpha=_WEIGHTS[k])
            summed.add_(planes.narrow(axis, 2 * _RADIUS - k, length), alpha=_WEIGHTS[k])
        planes = summed
    return planes


def _gaussian() -> list[float]:
    weights = [math.exp(-((k - _RADIUS) ** 2) / (2 * 1.5**2)) for k in range(2 * _RADIUS + 1)]
    return [weight / sum(weights) for weight in weights]


_WEIGHTS = _gaussian()


def _check(restored: Tensor, clean: Tensor, smallest: int, name: str) -> None:
    if restored.shape != clean.shape or clean.ndim != 3 or clean.shape[0] != 3:
        raise ValueError(
            f"{name} compares two images (3, H, W) of one size, not {tuple(restored.shape)} and "
            f"{tuple(clean.shape)}; cut or resize them first"
        )
    if min(clean.shape[-2:]) < smallest:
        raise ValueError(
            f"{name} needs {smallest} pixels on each side, not {clean.shape[-1]}x{clean.shape[-2]}; "
            "use a larger image"
        )
