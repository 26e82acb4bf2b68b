"""Images made as large as a network's coarsest features ask for."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mirrored(image: Tensor, multiple: int) -> Tensor:
    """Mirrored at the right and at the bottom to a multiple; edge pixels repeated where it is too small."""
    height, width = image.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    mode = "reflect" if right < width and bottom < height else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode)
