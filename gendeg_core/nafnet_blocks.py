"""The layers of NAFNet (arXiv 2204.04676), shared by structure correction and by restoration.

Names of modules are those of the published checkpoints: `intro`, `encoders.i.j`, `downs.i`, `middle_blks.j`,
`ups.i.0`, `decoders.i.j`, `ending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import Parameter


class LayerNorm2d(nn.Module):
    """Normalises the channels of each pixel by themselves."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = Parameter(torch.ones(channels))
        self.bias = Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        # The native kernel wants channels last: in that memory format nothing is copied here.
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution with its usual weight, computed as one matrix product when channels come last.

    The convolution kernels of the CPU reorder such an image before and after.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        product = F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return product.permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """Product of the two halves of the channels: NAFNet's only nonlinearity."""

    def forward(self, x: Tensor) -> Tensor:  # (B, 2C, H, W) -> (B, C, H, W)
        first, second = x.chunk(2, dim=1)
        return first * second


class NAFBlock(nn.Module):
    """Two residual branches, spatial with channel attention and then pointwise, both gated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.conv1 = Pointwise(channels, 2 * channels)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), Pointwise(channels, channels))  # no sigmoid
        self.conv3 = Pointwise(channels, channels)
        self.norm2 = LayerNorm2d(channels)
        self.conv4 = Pointwise(channels, 2 * channels)
        self.conv5 = Pointwise(channels, channels)
        self.gate = SimpleGate()
        # Both branches start switched off: the block begins as the identity.
        self.beta = Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        spatial = self.gate(self.conv2(self.conv1(self.norm1(x))))
        x = torch.addcmul(x, self.beta, self.conv3(spatial * self.sca(spatial)))
        return torch.addcmul(x, self.gamma, self.conv5(self.gate(self.conv4(self.norm2(x)))))


class NAFNetLayers(Protocol):
    """What `run_nafnet` needs; the modules that `nafnet_layers` makes."""

    intro: nn.Conv2d
    encoders: nn.ModuleList
    downs: nn.ModuleList
    middle_blks: nn.Sequential
    ups: nn.ModuleList
    decoders: nn.ModuleList
    ending: nn.Conv2d


def nafnet_layers(
    in_channels: int,
    out_channels: int,
    *,
    width: int,
    encoder_blocks: Sequence[int],
    middle_blocks: int,
    decoder_blocks: Sequence[int],
) -> dict[str, nn.Module]:
    """The modules of a NAFNet by name; the number of levels is the length of `encoder_blocks`.

    Raises:
        ValueError: encoder and decoder differ in their number of levels.
    """
    if len(encoder_blocks) != len(decoder_blocks):
        raise ValueError(
            f"encoder blocks {list(encoder_blocks)} and decoder blocks {list(decoder_blocks)} "
            "differ in length; give one number per level in both"
        )
    channels = [width * 2**level for level in range(len(encoder_blocks) + 1)]
    inner, deepest = channels[:-1], channels[-1]
    return {
        "intro": nn.Conv2d(in_channels, width, 3, padding=1),
        "encoders": nn.ModuleList(_stage(c, n) for c, n in zip(inner, encoder_blocks, strict=True)),
        "downs": nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in inner),
        "middle_blks": _stage(deepest, middle_blocks),
        "ups": nn.ModuleList(_upsample(2 * c) for c in reversed(inner)),
        "decoders": nn.ModuleList(_stage(c, n) for c, n in zip(reversed(inner), decoder_blocks, strict=True)),
        "ending": nn.Conv2d(width, out_channels, 3, padding=1),
    }


def run_nafnet(net: NAFNetLayers, image: Tensor) -> Tensor:
    """(B, in, H, W) of any size to (B, out, H, W), without the network's global residual.

    The image is zero padded at the right and at the bottom to a multiple of 2**levels and cropped back.
    """
    height, width = image.shape[-2:]
    multiple = 2 ** len(net.encoders)
    padded = F.pad(image, (0, -width % multiple, 0, -height % multiple))
    x = net.intro(padded.contiguous(memory_format=torch.channels_last))
    skips = []
    for stage, down in zip(net.encoders, net.downs, strict=True):
        x = stage(x)
        skips.append(x)
        x = down(x)
    x = net.middle_blks(x)
    for up, stage in zip(net.ups, net.decoders, strict=True):
        x = stage(up(x) + skips.pop())
    return net.ending(x)[..., :height, :width]


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels) for _ in range(blocks)))


def _upsample(channels: int) -> nn.Sequential:
    return nn.Sequential(Pointwise(channels, 2 * channels, bias=False), nn.PixelShuffle(2))
