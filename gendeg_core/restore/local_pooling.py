"""Test-time local converter (TLC, arXiv 2112.04491) for NAFNet: local means in place of global ones.

A network trained on crops knows the statistics of crops. On a larger image its channel attention then sees a
mean over another kind of area than ever in training; a mean over a window of 1.5 crops keeps what it learned.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendeg_core.nafnet_blocks import NAFBlock, NAFNetLayers
from gendeg_core.restore.nafnet import NAFNet

RELATIVE_WINDOW = 1.5  # side of the window in training crops


class LocalAttention(nn.Sequential):
    """Stands in for the attention `sca` of a block, with its convolution under the same key.

    Args:
        convolution: of the attention it replaces.
        window: rows and columns of the mean.
    """

    def __init__(self, convolution: nn.Module, window: tuple[int, int]) -> None:
        super().__init__(nn.Identity(), convolution)
        self.window = window

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Sequential gives it
        """(B, C, H, W) to weights of that shape, or (B, C, 1, 1) if the window covers both sides."""
        height, width = input.shape[-2:]
        rows, columns = (min(pair) for pair in zip(self.window, (height, width), strict=True))
        if (rows, columns) == (height, width):
            return self[1](input.mean((-2, -1), keepdim=True))
        # Sums over many pixels leave the range of float16.
        means = window_means(window_means(input.float(), rows, dim=-2), columns, dim=-1)
        weights = self[1](means.to(input.dtype))
        # Pixels near the border take the window of the nearest pixel that has a whole one.
        bottom, right = height - weights.shape[-2], width - weights.shape[-1]
        top, left = bottom // 2, right // 2
        return F.pad(weights, (left, right - left, top, bottom - top), mode="replicate")


def window_means(x: Tensor, size: int, *, dim: int) -> Tensor:
    """Mean of every `size` neighbours along `dim`, which becomes shorter by `size` - 1."""
    sums = x.cumsum(dim)
    length = x.shape[dim]
    first, later = sums.narrow(dim, size - 1, 1), sums.narrow(dim, size, length - size)
    return torch.cat([first, later - sums.narrow(dim, 0, length - size)], dim) / size


def local_inference(net: NAFNet, train_size: tuple[int, int] = (256, 256)) -> NAFNet:
    """A network in eval mode with the weights of `net` (the same tensors) that pools over windows.

    Images up to 1.5 training crops come out as from `net` itself.

    Args:
        train_size: height and width of the crops that `net` was trained on.
    """
    tensors = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    local = copy.deepcopy(net, tensors)
    for level, blocks in blocks_by_level(local):
        window = _window(train_size, level, levels=len(local.encoders))
        for block in blocks:
            block.sca = LocalAttention(block.sca[1], window)
    return local.eval()


def blocks_by_level(net: NAFNetLayers) -> list[tuple[int, list[NAFBlock]]]:
    """All blocks with the number of halvings before them."""
    levels = len(net.encoders)
    stages = [
        *enumerate(net.encoders),
        (levels, net.middle_blks),
        *((levels - 1 - index, stage) for index, stage in enumerate(net.decoders)),
    ]
    return [
        (level, [block for block in stage.modules() if isinstance(block, NAFBlock)])
        for level, stage in stages
    ]


def _window(train_size: tuple[int, int], level: int, *, levels: int) -> tuple[int, int]:
    """Sides of the window on the features of a level: 1.5 crops, as features of a padded crop show them."""

    def side(crop: int) -> int:
        multiple = 2**levels
        feature = (-(-crop // multiple) * multiple) >> level
        return feature * int(RELATIVE_WINDOW * crop) // crop

    return side(train_size[0]), side(train_size[1])
