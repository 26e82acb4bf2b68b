"""Small restorers with known behaviour, and images to run them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from gendeg_core.restore.loading import Restorer


@dataclass(frozen=True)
class Tiny:
    """What `infer` needs of a Restorer, without weights in files."""

    net: nn.Module
    model: str = "tiny"
    weights: str = "tiny@1"


def restorer(net: nn.Module, model: str = "tiny") -> Restorer:
    return cast("Restorer", Tiny(net.eval(), model))


class Blur(nn.Module):
    """Mean of a window of 2 * radius + 1 pixels, brighter by a half: sees exactly `radius` pixels far."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        size = 2 * radius + 1
        self.kernel = nn.Parameter(torch.full((3, 1, size, size), 1 / size**2))
        self.radius = radius

    def forward(self, image: Tensor) -> Tensor:
        padded = F.pad(image, (self.radius,) * 4, mode="replicate")
        return 0.5 * F.conv2d(padded, self.kernel, groups=3) + 0.5 * image**2


class TileMean(nn.Module):
    """Adds a part of the mean of what it sees: the worst that global pooling can do to tiles."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, image: Tensor) -> Tensor:
        return image + self.gain * (image.mean((-2, -1), keepdim=True) - 0.5)


def drawing(height: int, width: int, edges: float = 0.1) -> Tensor:
    """(3, height, width): light that grows from corner to corner, waves, and hard edges of that height."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = torch.stack([(x * k + y * (7 - k)).mul(6.0).sin() for k in (2, 3, 5)])
    fields = ((x * 5).floor() + (y * 4).floor()) % 2
    return (0.15 + 0.6 * x * y + 0.08 * waves + edges * fields).clamp(0, 1)


def randomised(net: nn.Module, seed: int = 0, spread: float = 0.25) -> nn.Module:
    """Every parameter moved at random, so that branches that start switched off take part."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Any] = net.state_dict()
    for value in state.values():
        if value.is_floating_point() and value.numel():
            fan_in = max(value[0].numel(), 1) if value.ndim > 1 else 4
            value += spread * torch.randn(value.shape, generator=generator) / fan_in**0.5
    return net
