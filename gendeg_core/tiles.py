"""Overlapping tiles with soft borders, so that large latents fit into memory and show no seams."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First positions of the fewest even tiles that cover `length` and overlap by `overlap` or more."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(k * (length - tile) / (count - 1)) for k in range(count)]


def tile_windows(height: int, width: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """(rows, columns) of every tile, row by row."""
    return [
        (slice(top, min(top + tile, height)), slice(left, min(left + tile, width)))
        for top in tile_starts(height, tile, overlap)
        for left in tile_starts(width, tile, overlap)
    ]


def feather(height: int, width: int, overlap: int) -> Tensor:
    """(1, height, width) weights in (0, 1]: a linear ramp of `overlap` positions at every border."""

    def ramp(length: int) -> Tensor:
        distance = torch.minimum(torch.arange(length), torch.arange(length).flip(0)).float()
        return ((distance + 1) / (overlap + 1)).clamp(max=1)

    return (ramp(height)[:, None] * ramp(width)[None])[None]


class Blend:
    """Collects the tiles of one picture (C, H, W) and averages them by their feathered weights."""

    def __init__(self, like: Tensor, overlap: int) -> None:
        self.sum, self.weight = torch.zeros_like(like), torch.zeros_like(like[:1])
        self.overlap = overlap

    def add(self, window: tuple[slice, slice], tile: Tensor) -> None:
        rows, columns = window
        weight = feather(tile.shape[-2], tile.shape[-1], self.overlap).to(tile)
        self.sum[:, rows, columns] += weight * tile
        self.weight[:, rows, columns] += weight

    def result(self) -> Tensor:
        return self.sum / self.weight


def doublings(small: tuple[int, int], large: tuple[int, int], most: int) -> Iterator[tuple[int, int]]:
    """Shapes between `small` and `large`, each at most twice the one before, short side at most `most`.

    Stops at `large` itself or at the last doubling that `most` allows.
    """
    scale = min(large) / min(small)
    factor = 1.0
    while factor < scale:
        factor = min(2 * factor, scale)
        shape = large if factor == scale else (round(small[0] * factor), round(small[1] * factor))
        if min(shape) > most:
            return
        yield shape
