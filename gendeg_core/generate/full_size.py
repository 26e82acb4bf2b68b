"""Between the photo's own size and the size the model works at.

The model paints at its base size, where mu and sigma are defined. Above it the painted image is enlarged
and the photo's own fine detail is put back as far as the degradation let it through: fog and darkness stay
coherent over the whole photo, a flake or a drop hides the detail behind it, a blur removes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 8  # the base image is at most this many times longer than its short side; beyond, it is squeezed
STRIP_PIXELS = 1 << 20  # pixels finished at once, so that memory does not grow with the photo
_WINDOW = 9  # base pixels over which "how much detail came through" is estimated
_FLAT = 1e-4  # variance below which a window says nothing by itself


def base_shape(height: int, width: int, base: int, least: int) -> tuple[int, int]:
    """Height and width the model works at: short side `base` at most and `least` at least, ratio kept."""
    short = min(height, width)
    scale = min(base / short, 1.0) if short >= least else least / short
    first, second = (min(max(round(side * scale), 1), LONGEST * base) for side in (height, width))
    return first, second


def size_of(image: Tensor) -> tuple[int, int]:
    """Height and width of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def resize(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """(3, H, W) resampled to `shape`, antialiased, kept inside [0, 1]."""
    if image.shape[-2:] == shape:
        return image
    return F.interpolate(image[None], shape, mode="bicubic", antialias=True)[0].clamp(0, 1)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """(..., 3, H, W) with the border repeated at right and bottom up to the next multiple."""
    height, width = image.shape[-2:]
    batch = image.reshape(-1, *image.shape[-3:])
    padded = F.pad(batch, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    return padded.reshape(*image.shape[:-2], *padded.shape[-2:])


def transferred_detail(clean: Tensor, degraded: Tensor) -> Tensor:
    """How much of the photo's detail survives the degradation, (1, h, w) in [0, 1].

    The local regression slope of the degraded on the clean high frequencies; flat windows fall back on the
    slope of the whole image. For haze this is the transmission, under an opaque flake it is zero.
    """
    high_clean, high_degraded = clean - _box(clean), degraded - _box(degraded)
    covariance = (high_clean * high_degraded).mean(0, keepdim=True)
    variance = (high_clean**2).mean(0, keepdim=True)
    overall = covariance.sum() / variance.sum().clamp(min=1e-12)
    slope = (_box(covariance) + _FLAT * overall) / (_box(variance) + _FLAT)
    return slope.clamp(0, 1)


def enlarge(clean: Tensor, clean_base: Tensor, painted_base: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, painted rows (3, rows, W)) of the painted image at the photo's size, top to bottom.

    Args:
        clean: the photo, (3, H, W).
        clean_base, painted_base: the photo and the painted image at base size, (3, h, w).
    """
    height, width = clean.shape[-2:]
    if clean_base.shape[-2:] == (height, width):
        yield slice(0, height), painted_base
        return
    layers = torch.cat([painted_base, clean_base, transferred_detail(clean_base, painted_base)])
    rows_at_once = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, rows_at_once):
        rows = slice(top, min(top + rows_at_once, height))
        painted, base, detail = _sample_rows(layers, rows, height, width).split([3, 3, 1])
        yield rows, (painted + detail.clamp(0, 1) * (clean[:, rows] - base)).clamp(0, 1)


def _sample_rows(layers: Tensor, rows: slice, height: int, width: int) -> Tensor:
    """Rows of `layers` (C, h, w) enlarged to height x width, without making the rest of them."""

    def centres(start: int, stop: int, total: int) -> Tensor:
        return (2 * torch.arange(start, stop, device=layers.device) + 1) / total - 1

    y, x = centres(rows.start, rows.stop, height), centres(0, width, width)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None].to(layers.dtype)
    return F.grid_sample(layers[None], grid, mode="bicubic", padding_mode="border", align_corners=False)[0]


def _box(image: Tensor) -> Tensor:
    """Mean over a window, (C, h, w); the border is repeated."""
    pad = _WINDOW // 2
    return F.avg_pool2d(F.pad(image[None], (pad,) * 4, mode="replicate"), _WINDOW, 1)[0]
