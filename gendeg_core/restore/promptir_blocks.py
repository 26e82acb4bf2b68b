"""The parts of PromptIR (arXiv 2306.13090): Restormer's blocks (arXiv 2111.09881) and the prompt block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import Parameter

from gendeg_core.nafnet_blocks import Pointwise

EXPANSION = 2.66  # of the gated feed-forward layer
PROMPTS = 5


class ChannelNorm(nn.Module):
    """Normalises the channels of each pixel by themselves; its parameters sit under `body`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels)  # eps 1e-5

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return self.body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TransposedAttention(nn.Module):
    """Attention among channels: its cost grows with the pixels, not with their square."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = Parameter(torch.ones(heads, 1, 1))
        self.qkv = Pointwise(channels, 3 * channels, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = Pointwise(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        batch, channels, height, width = x.shape
        query, key, value = self.qkv_dwconv(self.qkv(x)).reshape(
            batch, 3, self.heads, channels // self.heads, height * width
        ).unbind(1)  # fmt: skip
        mixed = (self.attention(query, key) @ value).reshape(batch, channels, height, width)
        return self.project_out(mixed)

    def attention(self, query: Tensor, key: Tensor) -> Tensor:
        """How much of each channel goes into each, (B, heads, c, c), by features (B, heads, c, pixels)."""
        # Divided by their lengths over the pixels, the products of two channels become correlations. The
        # lengths of the keys divide the small matrix instead, which saves a pass; those of the queries must
        # not wait, or float16 would overflow.
        lengths = key.norm(dim=-1).clamp(min=1e-12)[..., None, :]
        attention = F.normalize(query, dim=-1) @ key.transpose(-2, -1) / lengths
        return (attention * self.temperature).softmax(dim=-1)


class GatedFeedForward(nn.Module):
    """One half of the hidden channels, through a GELU, gates the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(EXPANSION * channels)
        self.project_in = Pointwise(channels, 2 * hidden, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = Pointwise(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        # Each half by itself: cut from one tensor whose channels come last, they would lie in pieces.
        gate, content = (
            F.conv2d(F.conv2d(x, mix), filters, padding=1, groups=len(filters))
            for mix, filters in zip(self.project_in.weight.chunk(2), self.dwconv.weight.chunk(2), strict=True)
        )
        return self.project_out(F.gelu(gate) * content)


class TransformerBlock(nn.Module):
    """Attention, then the feed-forward layer, each normalised before and added to its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels; choose a divisor")
        self.norm1 = ChannelNorm(channels)
        self.attn = TransposedAttention(channels, heads)
        self.norm2 = ChannelNorm(channels)
        self.ffn = GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class PromptBlock(nn.Module):
    """A prompt for a feature map: stored prompts mixed by what the map shows on average.

    Args:
        channels: of the prompt.
        size: side of the stored prompts, which are resized to the map.
        feature_channels: of the map.
    """

    def __init__(self, channels: int, size: int, feature_channels: int) -> None:
        super().__init__()
        self.prompt_param = Parameter(torch.rand(1, PROMPTS, channels, size, size))
        self.linear_layer = nn.Linear(feature_channels, PROMPTS)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, feature: Tensor) -> Tensor:  # (B, L, H, W) -> (B, channels, H, W)
        prompt = torch.einsum("bn,nchw->bchw", self.mixture(feature), self.prompt_param[0])
        return self.conv3x3(F.interpolate(prompt, size=feature.shape[-2:], mode="bilinear"))

    def mixture(self, feature: Tensor) -> Tensor:
        """Weights of the stored prompts, (B, prompts), which sum to one."""
        return self.linear_layer(feature.mean(dim=(-2, -1))).softmax(dim=1)


class PatchEmbedding(nn.Module):
    """The first convolution, under the name `proj`."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image)


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, 2C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def stage(channels: int, heads: int, blocks: int) -> nn.Sequential:
    """`blocks` transformer blocks in a row."""
    return nn.Sequential(*(TransformerBlock(channels, heads) for _ in range(blocks)))
