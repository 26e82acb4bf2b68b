"""Convolution with large sparse kernels by FFT: the photo's spectrum is kept, a new kernel costs little."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gendeg_core.scatter.fields import reflect_pad


class Convolver:
    """Blurs one image (C, H, W) with kernels given as points; borders are mirrored.

    Args:
        reach: largest distance of a kernel point from the centre, in pixels.
    """

    def __init__(self, image: Tensor, reach: float) -> None:
        self.height, self.width = image.shape[-2:]
        self.pad = math.ceil(reach) + 1
        rows, columns = (fast_size(n + 2 * self.pad) for n in (self.height, self.width))
        self.shape = rows, columns
        padded = reflect_pad(
            image, (self.pad, rows - self.height - self.pad), (self.pad, columns - self.width - self.pad)
        )
        self.spectrum = torch.stack([torch.fft.rfft2(channel) for channel in padded])

    def __call__(self, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The image blurred by points (N,) at (y, x) pixels from the centre, weights adding up to 1."""
        kernel = torch.fft.rfft2(point_kernel(y, x, weight, *self.shape))
        window = (slice(self.pad, self.pad + self.height), slice(self.pad, self.pad + self.width))
        # Channel by channel: a large photo's spectra would not fit three times.
        return torch.stack([torch.fft.irfft2(c * kernel, s=self.shape)[window] for c in self.spectrum])


def point_kernel(y: Tensor, x: Tensor, weight: Tensor, rows: int, columns: int) -> Tensor:
    """(rows, columns) kernel with its centre at (0, 0), periodic; points are shared bilinearly."""
    row, column = y.floor(), x.floor()
    fy, fx = y - row, x - column
    row, column = row.long(), column.long()
    kernel = torch.zeros(rows * columns)
    for down, share_y in ((0, 1 - fy), (1, fy)):
        for right, share_x in ((0, 1 - fx), (1, fx)):
            index = (row + down) % rows * columns + (column + right) % columns
            kernel.index_add_(0, index, weight * share_y * share_x)
    return kernel.view(rows, columns)


def fast_size(minimum: int) -> int:
    """The smallest number >= minimum whose only prime factors are 2, 3 and 5."""
    size = minimum
    while _rest(size) != 1:
        size += 1
    return size


def _rest(number: int) -> int:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number
