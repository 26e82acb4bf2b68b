"""LPIPS as a loss, from weights on disk: its own come with the package, its trunk has to be given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lpips
import torch
from torch import Tensor

from train.common.errors import UsageError


def perceptual_distance(trunk: Path, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (VGG) of two images (B, 3, H, W) in [-1, 1], as (B, 1, 1, 1).

    Args:
        trunk: torchvision's VGG16 weights.

    Raises:
        UsageError: the file is missing or holds something else.
    """
    if not trunk.is_file():
        raise UsageError(f"there is no file {trunk}; give torchvision's VGG16 weights, or --perceptual 0")
    network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    stored = torch.load(trunk, map_location="cpu", weights_only=True)
    wanted = network.net.state_dict()  # sliceK.N.weight, where torchvision says features.N.weight
    found = {name: "features." + name.split(".", 1)[1] for name in wanted}
    missing = [name for name in found.values() if name not in stored]
    if missing:
        raise UsageError(f"{trunk} holds no {missing[0]}; give torchvision's VGG16 weights")
    network.net.load_state_dict({name: stored[source] for name, source in found.items()})
    return network.requires_grad_(False).eval().to(device)
