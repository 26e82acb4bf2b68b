"""NAFNet on large photos: its channel attention sees the whole photo, made small, and not tile by tile.

Haze and darkness belong to a photo, not to a part of it. A network that judges them by means over its tile,
or over windows as local pooling does (`local_pooling`), takes the veil off one part and leaves it on another.
Here every mean comes from the photo at about the size of the scenes that the network was trained on, once per
photo; tiles then differ from one piece only by what lies beyond the reach of its convolutions.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendeg_core.restore.local_pooling import blocks_by_level
from gendeg_core.restore.nafnet import NAFNet


class LastingAttention(nn.Sequential):
    """Stands in for the attention `sca` of a block; what it finds in the first images holds for others."""

    def __init__(self, attention: nn.Sequential) -> None:
        super().__init__(*attention)
        self.found: Tensor | None = None  # (B, C, 1, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Sequential gives it
        found = self.found
        if found is None:
            found = self.found = super().forward(input)
        return found


class PhotoPooling(nn.Module):
    """A NAFNet for inference whose attention comes from the image made small.

    Images whose short side is no longer than `side` come out as from `net` itself.

    Args:
        net: used, not copied.
        side: short side in pixels that images are shrunk to.
    """

    def __init__(self, net: NAFNet, side: int) -> None:
        super().__init__()
        self.net, self.side = net.eval(), side

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, 3, H, W) of one in [0, 1]; any size, not clamped."""
        return self.for_photo(image)(image)

    def for_photo(self, photo: Tensor) -> NAFNet:
        """A network with the weights of `net` (the same tensors) for tiles of this photo (B, 3, H, W)."""
        tensors = {id(tensor): tensor for tensor in (*self.net.parameters(), *self.net.buffers())}
        settled = copy.deepcopy(self.net, tensors)
        for _, blocks in blocks_by_level(settled):
            for block in blocks:
                block.sca = LastingAttention(block.sca)
        with torch.no_grad():
            settled(_shrunk(photo, self.side))
        return settled


def _shrunk(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, H, W) whose short side is `side` pixels at most."""
    height, width = images.shape[-2:]
    factor = side / min(height, width)
    if factor >= 1:
        return images
    size = (round(height * factor), round(width * factor))
    # CPUs cannot antialias in half precision.
    small = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
    return small.to(images.dtype)
