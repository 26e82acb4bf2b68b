"""Networks on large photos: what they judge by a whole image comes from the whole photo, made small, once.

Haze and darkness belong to a photo, not to a part of it. A network that judges them by means over its tile,
or over windows as local pooling does (`local_pooling`), takes the veil off one part and leaves it on another.
Here the channel attention of NAFNet, and of PromptIR the attention and the mix of prompts, come from the
photo at about the size of the scenes that the network was trained on; tiles then differ from one piece only
by what lies beyond the reach of its convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendeg_core.nafnet_blocks import NAFBlock
from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.promptir import PromptIR
from gendeg_core.restore.promptir_blocks import PromptBlock, TransposedAttention


class PhotoPooling(nn.Module):
    """A network for inference that judges images by what it sees of them made small.

    Images whose short side is no longer than `side` come out as from `net` itself. The prompts of a PromptIR
    should have one value per channel: each tile would show the whole pattern of larger ones.

    Args:
        net: used, not copied.
        side: short side in pixels that images are shrunk to.
    """

    def __init__(self, net: NAFNet | PromptIR, side: int) -> None:
        super().__init__()
        self.net, self.side = net.eval(), side

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, 3, H, W) of one in [0, 1]; any size, not clamped."""
        return self.for_photo(image)(image)

    def for_photo(self, photo: Tensor) -> NAFNet | PromptIR:
        """A network with the weights of `net` (the same tensors) for tiles of this photo (B, 3, H, W)."""
        tensors = {id(tensor): tensor for tensor in (*self.net.parameters(), *self.net.buffers())}
        settled = copy.deepcopy(self.net, tensors)
        for block in cast("list[Any]", list(settled.modules())):
            if isinstance(block, NAFBlock):
                block.sca.forward = lasting(block.sca.forward)
            elif isinstance(block, TransposedAttention):
                block.attention = lasting(block.attention)
            elif isinstance(block, PromptBlock):
                block.mixture = lasting(block.mixture)
        with torch.no_grad():
            settled(_shrunk(photo, self.side))
        return settled


def lasting(judge: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that gives for everything what `judge` gave for the first it saw."""
    found: list[Tensor] = []

    def judged(*seen: Tensor) -> Tensor:
        if not found:
            found.append(judge(*seen))
        return found[0]

    return judged


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
