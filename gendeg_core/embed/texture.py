"""Statistics of natural images by which degradations give themselves away, for the patches of an image.

A small network that starts from nothing needs very many images until its own filters see noise, streaks or a
veil. These filters are fixed, and what is learned begins behind them.

Sources: He et al., "Single Image Haze Removal Using Dark Channel Prior" (CVPR 2009), for veils; Portilla and
Simoncelli, "A Parametric Texture Model Based on Joint Statistics of Complex Wavelet Coefficients" (IJCV
2000), for energy, sparsity and asymmetry of oriented bands at several scales; Liu et al., "Image Partial Blur
Detection and Classification" (CVPR 2008), for the autocorrelation of gradients, which motion stretches.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ORIENTATIONS, OCTAVES = 8, 4
LUMINANCE = (0.299, 0.587, 0.114)
SHIFTS = tuple((down, across) for step in (1, 2, 4, 7) for down, across in ((0, step), (step, 0)))
SHIFTS += ((1, 1), (1, -1), (2, 2), (2, -2), (5, 5), (5, -5))
BLOCK = 8  # side of the smaller squares whose extremes are kept, in pixels
TINY = 1e-6  # below the square of one step of 8 bits
LARGEST = 6.0  # of a standardised statistic
SMALLEST = 1e-3  # spread; of a statistic that varies less, this is taken
STATISTICS = 1  # counts up whenever any statistic changes, so that kept ones are not taken for the new ones


class TextureStem(nn.Module):
    """Normalised images (B, 3, H, W), two patches wide at least, to tokens (B, width, H / patch, W / patch).

    What a patch shows is judged beside mean and spread over the image, and each token is told what all the
    patches show: in the mean, at the most, and how unequally. The statistics (B, channels, H / patch,
    W / patch) of an image, which cost more than all that follows, may be given in its place.

    Args:
        width: of the tokens.
        patch: side of the patches in pixels, a multiple of 32.
        mean, std: by which images were normalised.
        hidden: of the perceptrons.
        dropout: share of the hidden values that training leaves out.

    Raises:
        ValueError: `patch` is no multiple of 32.
    """

    def __init__(
        self,
        width: int,
        patch: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        hidden: int = 384,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if patch % 32:
            raise ValueError(f"patch_size={patch} is no multiple of 32, which statistics of texture need")
        self.patch = patch
        self.bank: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("bank", oriented_filters(), persistent=False)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.channels = texture(torch.zeros(1, 3, 2 * patch, 2 * patch), patch, self.bank).shape[1]
        self.register_buffer("centre", torch.zeros(self.channels, 1, 1))
        self.register_buffer("spread", torch.ones(self.channels, 1, 1))
        self.local = _perceptron(self.channels, hidden, hidden, dropout)
        self.overall = _perceptron(2 * self.channels, hidden, hidden, dropout)
        self.summary = nn.GroupNorm(1, 3 * hidden)
        self.everywhere = _perceptron(3 * hidden, hidden, width, dropout)
        self.token = nn.Conv2d(hidden, width, 1)

    @torch.no_grad()
    def statistics(self, images: Tensor) -> Tensor:
        """What `texture` finds in normalised images (B, 3, H, W): (B, channels, H / patch, W / patch)."""
        with torch.autocast(images.device.type, enabled=False):  # fine grain drowns in half precision
            return texture(images.float() * self.std + self.mean, self.patch, self.bank)

    def standardise(self, statistics: Tensor) -> None:
        """Let mean and spread of these typical statistics (B, channels, h, w) count as 0 and as 1."""
        spread, centre = torch.std_mean(statistics.float(), (0, 2, 3), unbiased=False)
        self.centre.copy_(centre[:, None, None])
        self.spread.copy_(spread[:, None, None].clamp(min=SMALLEST))

    def forward(self, shown: Tensor) -> Tensor:
        """Tokens of images (B, 3, H, W), or of their statistics (B, channels, H / patch, W / patch)."""
        found = shown if shown.shape[1] == self.channels else self.statistics(shown)
        found = ((found - self.centre) / self.spread).clamp(-LARGEST, LARGEST)
        patches = F.gelu(self.local(found) + self.overall(torch.cat(_mean_and_spread(found), 1)))
        most = patches.amax((2, 3), keepdim=True)
        summary = self.summary(torch.cat([*_mean_and_spread(patches), most], 1))
        return self.token(patches) + self.everywhere(summary)


def texture(images: Tensor, patch: int, bank: Tensor) -> Tensor:
    """Statistics (B, C, H / patch, W / patch) of the patches of images (B, 3, H, W) in [0, 1].

    Args:
        bank: what `oriented_filters` gives.
    """
    luminance = (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    parts = [
        _colour(images, luminance, patch),
        _gradients(luminance, patch),
        _grain(images, luminance, patch),
    ]
    for octave in range(OCTAVES):
        parts.append(_bands(luminance, patch >> octave, bank))
        luminance = F.avg_pool2d(_smooth(luminance), 2)
    return torch.cat(parts, 1)


def oriented_filters() -> Tensor:
    """First and second derivatives of elongated Gaussians by turns, (2 x ORIENTATIONS, 1, 9, 9).

    Each sums to 0, and its absolute values to 1.
    """
    down, across = torch.meshgrid(torch.arange(-4.0, 5), torch.arange(-4.0, 5), indexing="ij")
    filters = []
    for k in range(ORIENTATIONS):
        angle = math.pi * k / ORIENTATIONS
        over = across * math.cos(angle) + down * math.sin(angle)
        along = down * math.cos(angle) - across * math.sin(angle)
        bell = torch.exp(-(over**2) / 2 - along**2 / 8)
        for kernel in (-over * bell, (over**2 - 1) * bell):
            centred = kernel - kernel.mean()
            filters.append(centred / centred.abs().sum())
    return torch.stack(filters)[:, None]


def _colour(images: Tensor, luminance: Tensor, patch: int) -> Tensor:
    """Brightness and contrast by channel, dark and bright channel, saturation."""
    mean = F.avg_pool2d(images, patch)
    variance = (F.avg_pool2d(images**2, patch) - mean**2).clamp(min=0)
    dark, bright = images.amin(1, keepdim=True), images.amax(1, keepdim=True)
    darkest = -F.max_pool2d(-dark, BLOCK)
    return torch.cat(
        [
            mean,
            torch.log(variance + 1e-4),
            F.avg_pool2d(dark, patch),
            -F.max_pool2d(-dark, patch),
            F.avg_pool2d(darkest, patch // BLOCK),
            F.max_pool2d(darkest, patch // BLOCK),
            F.avg_pool2d(bright, patch),
            F.max_pool2d(bright, patch),
            F.avg_pool2d(bright - dark, patch),
            torch.log(F.avg_pool2d(luminance, patch) + 0.01),
        ],
        1,
    )


def _bands(luminance: Tensor, patch: int, bank: Tensor) -> Tensor:
    """Energy, sparsity, and for even filters asymmetry and peakedness of the oriented bands.

    Half of the rows and columns are enough where patches are large.
    """
    step = 2 if patch >= 16 else 1
    found = F.conv2d(F.pad(luminance, (4, 4, 4, 4), mode="reflect"), bank, stride=step)
    side = patch // step
    energy = F.avg_pool2d(found**2, side) + TINY
    even, even_energy = found[:, 1::2], energy[:, 1::2]
    squared = even**2
    return torch.cat(
        [
            torch.log(energy),
            torch.log((F.avg_pool2d(found.abs(), side) ** 2 + TINY) / energy),
            F.avg_pool2d(squared * (even > 0), side) / even_energy,
            torch.log(F.avg_pool2d(squared**2, side) / even_energy**2 + 0.1),
        ],
        1,
    )


def _gradients(luminance: Tensor, patch: int) -> Tensor:
    """Autocorrelation of the horizontal and of the vertical gradient under some shifts."""
    found = []
    for axis in (-1, -2):
        gradient = luminance.diff(dim=axis)
        gradient = F.pad(gradient, (0, 1) if axis == -1 else (0, 0, 0, 1))
        energy = F.avg_pool2d(gradient**2, patch) + TINY
        for down, across in SHIFTS:
            shifted = F.pad(gradient, (across, -across, down, -down))
            found.append(F.avg_pool2d(gradient * shifted, patch) / energy)
    return torch.cat(found, 1)


def _grain(images: Tensor, luminance: Tensor, patch: int) -> Tensor:
    """The finest detail: how much in each channel, in the flattest and the busiest block, how coloured, and
    whether there is more of it where it is bright."""
    blocks = patch // BLOCK
    fine = images - _smooth(images)
    strength = torch.log(F.avg_pool2d(fine.abs(), BLOCK).mean(1, keepdim=True) + 1e-4)
    coloured = (fine - fine.mean(1, keepdim=True)).abs()
    colour = torch.log(F.avg_pool2d(coloured, BLOCK).mean(1, keepdim=True) + 1e-4)
    light = torch.log(F.avg_pool2d(luminance, BLOCK) + 0.01)
    one, other = (
        part - F.interpolate(F.avg_pool2d(part, blocks), scale_factor=blocks) for part in (strength, light)
    )
    together = F.avg_pool2d(one * other, blocks)
    spreads = F.avg_pool2d(one**2, blocks) * F.avg_pool2d(other**2, blocks)
    return torch.cat(
        [
            torch.log(F.avg_pool2d(fine.abs(), patch) + 1e-4),
            -F.max_pool2d(-strength, blocks),
            F.max_pool2d(strength, blocks),
            F.avg_pool2d(colour, blocks),
            -F.max_pool2d(-colour, blocks),
            F.max_pool2d(colour, blocks),
            F.avg_pool2d(colour - strength, blocks),
            together / torch.sqrt(spreads + 1e-4),
        ],
        1,
    )


def _smooth(images: Tensor) -> Tensor:
    """(B, C, H, W) under the binomial 1 4 6 4 1, a Gaussian of one pixel; sums of slices are the quickest."""
    x = F.pad(images, (2, 2, 2, 2), mode="reflect")
    x = 6 * x[..., 2:-2] + 4 * (x[..., 1:-3] + x[..., 3:-1]) + x[..., :-4] + x[..., 4:]
    x = 6 * x[..., 2:-2, :] + 4 * (x[..., 1:-3, :] + x[..., 3:-1, :]) + x[..., :-4, :] + x[..., 4:, :]
    return x / 256


def _mean_and_spread(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, 1, 1) each, of maps (B, C, h, w)."""
    mean = maps.mean((2, 3), keepdim=True)
    # a root has no slope at 0, which flat maps would come to
    return mean, (maps - mean).square().mean((2, 3), keepdim=True).add(TINY).sqrt()


def _perceptron(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1), nn.GELU(), nn.Dropout(dropout), nn.Conv2d(hidden, outputs, 1)
    )
