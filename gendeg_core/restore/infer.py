"""A photo of any size through a restoration network: whole when it is small, else over blended tiles.

The networks see only their tile, so what they make of its outer pixels is thrown away where another tile
knows better, and the rest is crossfaded. Tiles start on the grid of the networks' coarsest features: a
network that looks no further than the margin gives the same picture in tiles as in one piece. A network of
windows names a coarser grid, that of its largest windows: shifted, they would show it another picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gendeg_core.tiles import tile_starts
from gendeg_core.types import Progress

if TYPE_CHECKING:
    from gendeg_core.restore.loading import Restorer

GRID = 32  # pixels; the coarsest features of all three networks have one value per 32 x 32 or finer
SMALLEST, LARGEST = 128, 1024  # sides of a tile
WHOLE = 512 * 512  # up to here no network needs tiles
ACTIVATION_BYTES = 1 << 29  # size that the largest tensor inside the network may have; a few live at once


class CancelledError(Exception):
    """The work was cancelled between two tiles; there is no result."""


@dataclass(frozen=True, eq=False)
class Restored:
    """One restored photo and how it was made.

    Args:
        image: float32 (3, H, W) in [0, 1] on the CPU, the size of the photo that came in.
        model, weights: which network, and the identity of its weights.
        tile: side of the tiles in pixels; None when the photo went through in one piece.
        seconds: time spent in the network and in blending.
    """

    image: Tensor
    model: str
    weights: str
    tile: int | None
    seconds: float


def restore(
    restorer: Restorer,
    image: Tensor,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """The restored image, (3, H, W) in [0, 1]; see `restore_steps` for the arguments.

    Args:
        on_progress: called after every tile.
        cancelled: asked before every tile.

    Raises:
        CancelledError: `cancelled` said so.
        ValueError: as `restore_steps`.
    """
    for item in restore_steps(restorer, image, tile=tile, overlap=overlap):
        if isinstance(item, Restored):
            return item.image
        if on_progress is not None:
            on_progress(item)
        if cancelled is not None and cancelled():
            raise CancelledError(f"cancelled after {item.done} of {item.total} tiles")
    raise AssertionError("the steps end with the result")


def restore_steps(
    restorer: Restorer, image: Tensor, *, tile: int | None = None, overlap: int | None = None
) -> Iterator[Progress | Restored]:
    """Restore one image; yields `Progress` before the first and after every tile, the `Restored` last.

    Closing the iterator cancels. Memory beside the network's own does not grow with the image, except for the
    result.

    Args:
        image: float (3, H, W) in [0, 1], any size.
        tile: side of the tiles in pixels, cut to a multiple of 32, or of the windows' grid where two of them
            fit; 0 for one piece whatever it costs; None for one piece if the image is small and else for the
            largest tile that spares memory.
        overlap: pixels shared by neighbouring tiles at least; None for an eighth of the tile.

    Raises:
        ValueError: a tile or an overlap that cannot be used, a network that changes the size or returns
            values that are no numbers.
    """
    check_image(image)
    side, grid = _tile_side(restorer.net, image, tile)
    margin = _overlap(side, overlap, grid) if side else 0
    return _steps(restorer, image, side, margin, grid)


def check_image(image: Tensor) -> None:
    """Refuse what is no (3, H, W) image.

    Raises:
        ValueError: another shape or whole numbers.
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel() or not image.is_floating_point():
        raise ValueError(
            f"the image has shape {tuple(image.shape)} and type {image.dtype}; "
            "give floats in [0, 1] of shape (3, height, width)"
        )


def check_tile(tile: int | None) -> None:
    """Refuse a side that is neither 0 nor large enough.

    Raises:
        ValueError: the side is too small.
    """
    if tile is not None and tile != 0 and tile < SMALLEST:
        raise ValueError(f"tile={tile} is below {SMALLEST}; choose {SMALLEST} or more, or 0 for one piece")


def _steps(
    restorer: Restorer, image: Tensor, side: int, overlap: int, grid: int
) -> Iterator[Progress | Restored]:
    start, height, width = time.perf_counter(), image.shape[-2], image.shape[-1]
    net = _for_photo(restorer.net, image)
    down, across = (spans(length, side or length, overlap, grid) for length in (height, width))
    total, done = len(down) * len(across), 0
    result = torch.zeros(3, height, width)
    yield Progress(0, total)
    for rows in down:
        for columns in across:
            here = (slice(None), rows.where, columns.where)
            restored = _run(net, image[here])
            result[here] += restored * (rows.weight[:, None] * columns.weight)
            done += 1
            yield Progress(done, total)
    seconds = time.perf_counter() - start
    yield Restored(
        result.clamp_(0, 1), restorer.model, restorer.weights, side if total > 1 else None, seconds
    )


def _for_photo(net: nn.Module, image: Tensor) -> nn.Module:
    """The network for tiles of this photo; the network itself, unless it asks to see the photo first."""
    if not hasattr(net, "for_photo"):
        return net
    first = next(net.parameters())
    return cast(Any, net).for_photo(image[None].to(first.device, first.dtype))


@torch.no_grad()
def _run(net: nn.Module, tile: Tensor) -> Tensor:
    """(3, h, w) through the network, back on the CPU."""
    first = next(net.parameters())
    output = net(tile[None].to(first.device, first.dtype))
    if output.shape[1:] != tile.shape:
        raise ValueError(
            f"the network turned {tuple(tile.shape)} into {tuple(output.shape[1:])}; "
            "choose one that keeps the size of the image"
        )
    restored = output[0].float().cpu()
    if not torch.isfinite(restored).all():
        raise ValueError("the network returned values that are not numbers; its weights do not work here")
    return restored


@dataclass(frozen=True, eq=False)
class Span:
    """One tile along one side of the image.

    Args:
        where: the positions the network sees.
        weight: how much each of them counts, (length,); over all spans the weights of a position sum to one.
    """

    where: slice
    weight: Tensor


def spans(length: int, tile: int, overlap: int, grid: int = GRID) -> list[Span]:
    """The fewest even tiles over `length` positions, from the grid, that overlap by `overlap` or more."""
    if length <= tile:
        return [Span(slice(0, length), torch.ones(length))]
    cells = [-(-length // grid), tile // grid, -(-overlap // grid)]
    starts = [grid * cell for cell in tile_starts(*cells)]
    windows = [slice(start, min(start + tile, length)) for start in starts]
    weights = [_ramps(window, length, overlap) for window in windows]
    total = torch.zeros(length)
    for window, weight in zip(windows, weights, strict=True):
        total[window] += weight
    return [Span(window, w / total[window]) for window, w in zip(windows, weights, strict=True)]


def _ramps(window: slice, length: int, overlap: int) -> Tensor:
    """Weights of one tile: 1, but from each side with a neighbour 0 over the margin and then a ramp."""
    margin = overlap // 4
    steps = torch.arange(1, window.stop - window.start + 1)
    rise = ((steps - margin) / (overlap - 2 * margin + 1)).clamp(0, 1)
    weight = torch.ones(len(steps))
    if window.start > 0:
        weight = torch.minimum(weight, rise)
    if window.stop < length:
        weight = torch.minimum(weight, rise.flip(0))
    return weight


def _tile_side(net: nn.Module, image: Tensor, tile: int | None) -> tuple[int, int]:
    """Side of the tiles, 0 for one piece, and the grid they lie on."""
    check_tile(tile)
    pixels = image.shape[-2] * image.shape[-1]
    if tile is not None:
        grid = _grid_of(net, tile)
        return tile // grid * grid, grid
    if pixels <= WHOLE:
        return 0, GRID
    affordable = min(ACTIVATION_BYTES / largest_activation(net), LARGEST**2)  # pixels
    if pixels <= affordable:
        return 0, GRID
    largest = max(int(affordable**0.5), SMALLEST)
    grid = _grid_of(net, largest)
    return _thriftiest(image, largest // grid * grid, grid), grid


def _grid_of(net: nn.Module, tile: int) -> int:
    """Tiles of this side start at multiples of it; of a grid of windows, two cells must fit into them."""
    grid = getattr(net, "grid", GRID)
    return grid if tile >= 2 * grid else GRID


def _thriftiest(image: Tensor, largest: int, grid: int) -> int:
    """The side little below `largest` whose tiles, overlaps included, have the fewest pixels in all."""

    def pixels(side: int) -> int:
        across = (spans(length, side, _overlap(side, None, grid), grid) for length in image.shape[-2:])
        down, right = (sum(span.where.stop - span.where.start for span in line) for line in across)
        return down * right

    sides = range(largest, max(largest * 3 // 4, SMALLEST) - 1, -grid)
    return min(sides, key=pixels)


def _overlap(side: int, overlap: int | None, grid: int) -> int:
    """The overlap in pixels, a whole number of grid cells."""
    if overlap is None:
        overlap = side // 8
    if not 0 <= overlap <= side // 2:
        raise ValueError(
            f"overlap={overlap} is outside 0 to {side // 2}, half of the tile; choose one inside"
        )
    return -(-overlap // grid) * grid


def largest_activation(net: nn.Module) -> float:
    """Bytes per image pixel of the largest tensor that the network makes, found on a small grey image."""
    first, side = next(net.parameters()), 256
    with torch.no_grad(), _Largest() as seen:
        net(torch.full((1, 3, side, side), 0.5, device=first.device, dtype=first.dtype))
    return seen.most / side**2


class _Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        output = func(*args, **(kwargs or {}))
        sizes = [x.numel() * x.element_size() for x in tree_leaves(output) if isinstance(x, Tensor)]
        self.most = max([self.most, *sizes])
        return output
