"""Smooth random fields and blurs whose pattern does not depend on the image size.

A field is drawn once on a fixed periodic grid that spans two short sides of the image, then read off at any
size with cubic B-splines. Its power spectrum falls as 1 / frequency**exponent (fractional Brownian noise).
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 128  # grid cells along one period
SPAN = 2.0  # one period, in short sides of the image
_LARGEST_DIRECT_SIGMA = 6.0  # wider Gaussians are computed on a reduced copy


def fractal(generator: torch.Generator, exponent: float) -> Tensor:
    """(CELLS, CELLS) fractal noise, periodic, with values spread evenly over 0 to 1.

    Args:
        exponent: 1 is rough, 2 cloudy, 4 very smooth.
    """
    spectrum = torch.fft.rfft2(torch.randn(CELLS, CELLS, generator=generator))
    noise = torch.fft.irfft2(spectrum * _falloff(exponent), s=(CELLS, CELLS))
    noise = noise / noise.std()
    return 0.5 + 0.5 * torch.erf(noise / math.sqrt(2))  # the normal distribution function: even spread


def _falloff(exponent: float) -> Tensor:
    frequency = _frequencies()
    falloff = frequency.clamp(min=1) ** (-exponent / 2)
    return torch.where(frequency > 0, falloff, torch.zeros(()))


@functools.cache
def _frequencies() -> Tensor:
    """(CELLS, CELLS // 2 + 1) distance from zero frequency, in cycles per period."""
    rows = torch.fft.fftfreq(CELLS, 1 / CELLS)
    columns = torch.fft.rfftfreq(CELLS, 1 / CELLS)
    return torch.hypot(rows[:, None], columns[None])


def read_field(field: Tensor, height: int, width: int) -> Tensor:
    """(height, width) values of a periodic field, smooth at any size, never outside its range."""
    short = min(height, width)
    return _spline(height, short) @ field @ _spline(width, short).T


def _spline(count: int, short: int) -> Tensor:
    """(count, CELLS) cubic B-spline weights of the field cells at each of `count` pixel centres."""
    position = (torch.arange(count) + 0.5) / short / SPAN * CELLS - 0.5
    cell = position.floor()
    t = position - cell
    taps = torch.stack(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3), dim=1)
    index = (cell.long()[:, None] + torch.arange(-1, 3)) % CELLS
    return torch.zeros(count, CELLS).scatter_add_(1, index, taps / 6)


def relative_grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """y (height, 1) and x (1, width) of the pixel centres, each from 0 to 1 over the image."""
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    return y[:, None], x[None]


def reflect_index(count: int, before: int, after: int) -> Tensor:
    """(before + count + after,) indices that mirror at the borders as often as needed; any count >= 1."""
    index = torch.arange(-before, count + after) % (2 * count)
    return torch.where(index < count, index, 2 * count - 1 - index)


def reflect_pad(image: Tensor, bottom_top: tuple[int, int], left_right: tuple[int, int]) -> Tensor:
    """Mirror-pad (..., H, W) by (top, bottom) and (left, right) pixels; the pad may exceed the image."""
    rows = reflect_index(image.shape[-2], *bottom_top)
    columns = reflect_index(image.shape[-1], *left_right)
    return image[..., rows, :][..., columns]


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (C, H, W) by a Gaussian of `sigma` pixels with mirrored borders; wide ones on a reduced copy."""
    if sigma < 0.05:
        return image
    if sigma > _LARGEST_DIRECT_SIGMA:
        height, width = image.shape[-2:]
        factor = sigma / 3
        small = resize(image, max(1, round(height / factor)), max(1, round(width / factor)))
        return resize(gaussian_blur(small, 3.0), height, width)
    radius = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    # Sums of shifted copies: several times faster on a CPU than a convolution of one channel.
    height, width = image.shape[-2:]
    padded = reflect_pad(image, (radius, radius), (radius, radius))
    columns = torch.zeros_like(padded[..., :height, :])
    for shift, weight in enumerate(weights):
        columns.add_(padded[..., shift : shift + height, :], alpha=weight / sum(weights))
    blurred = torch.zeros_like(image)
    for shift, weight in enumerate(weights):
        blurred.add_(columns[..., shift : shift + width], alpha=weight / sum(weights))
    return blurred


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize (C, H, W) bilinearly, antialiased when it shrinks."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


def smoothstep(low: float, high: float, values: Tensor) -> Tensor:
    """0 below low, 1 above high, a smooth rise between."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
