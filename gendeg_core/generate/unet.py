"""The small denoiser of the shipped weights: a convolutional UNet with scale-shift conditioning.

It stands where Stable Diffusion's UNet stands in GenDeg (arXiv 2411.17687, section 3.1): it sees
[noisy latent, clean latent], what else it is told of the picture, and a context sequence of text and
intensity, and answers in the form that diffusers' flow-matching schedulers expect, the velocity
(noise - signal).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from gendeg_core.generate.line_blur import line_blurs

MIN_TIME = 1e-3  # below this noise level the velocity of an exact signal would blow up


def sinusoids(time: Tensor, width: int = 64) -> Tensor:
    """(B,) in [0, 1] to (B, width): sines and cosines at octave frequencies from a quarter turn up."""
    frequency = math.pi / 2 * 2 ** torch.linspace(0, 9, width // 2, device=time.device)
    angle = time[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class ContextPooling(nn.Module):
    """One vector per sample from the context (B, tokens, dim).

    Learned queries read the words wherever they stand; a flat projection keeps the intensity columns, which
    are laid out along the tokens.
    """

    def __init__(self, dim: int, tokens: int, width: int, queries: int = 4, narrow: int = 8) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim) / dim**0.5)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.narrow = nn.Linear(dim, narrow)
        self.out = nn.Linear(queries * dim + tokens * narrow, width)

    def forward(self, context: Tensor) -> Tensor:
        queries = self.queries.expand(len(context), -1, -1)
        words, _ = self.attention(queries, context, context, need_weights=False)
        return self.out(torch.cat([words.flatten(1), self.narrow(context).flatten(1)], 1))


class Block(nn.Module):
    """Residual block: two 3 x 3 convolutions, scale-shift by the condition, channel attention.

    Dense convolutions on purpose: on a CPU their backward pass is several times cheaper than that of the
    depthwise 5 x 5 ones they replace.
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(1, channels)
        self.attention = nn.Linear(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(condition, 4 * channels)
        for layer in (self.modulation, self.attention, self.conv2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # (B, C, h, w), (B, condition)
        scale1, shift1, scale2, shift2 = self.modulation(condition)[..., None, None].chunk(4, 1)
        h = self.conv1(F.silu(self.norm1(x) * (1 + scale1) + shift1))
        h = F.silu(self.norm2(h) * (1 + scale2) + shift2)
        h = h * (1 + self.attention(h.mean((2, 3)))[..., None, None])
        return x + self.conv2(h)


class ConditionedUNet(ModelMixin, ConfigMixin):
    """Denoiser of [noisy latent, clean latent] under a context sequence.

    Args:
        in_channels: channels of the noisy and of the clean latent together, and of anything that follows.
        out_channels: channels of one latent.
        block_out_channels: width of each scale, finest first.
        layers_per_block: residual blocks of each scale, on the way down and again on the way up (the last
            scale has them once).
        cross_attention_dim: width of the context.
        context_tokens: length of the context.
        condition_dim: width of the vector that modulates every block.
        mixed_line_blurs: how many blurs along the lines that a layout of motion tells may be mixed into the
            answer; the latents have to be folded pixels then (`PatchCodec`).
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 96,
        out_channels: int = 48,
        block_out_channels: tuple[int, ...] = (64, 128, 192),
        layers_per_block: tuple[int, ...] = (2, 3, 4),
        cross_attention_dim: int = 64,
        context_tokens: int = 77,
        condition_dim: int = 256,
        mixed_line_blurs: int = 0,
    ) -> None:
        super().__init__()
        widths, depths, dim = list(block_out_channels), list(layers_per_block), condition_dim
        self.context = ContextPooling(cross_attention_dim, context_tokens, dim)
        self.time = nn.Sequential(nn.Linear(64, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for width, wider, depth in zip(widths, widths[1:], depths, strict=False):
            self.down.append(nn.ModuleList(Block(width, dim) for _ in range(depth)))
            self.shrink.append(nn.Conv2d(width, wider, 2, stride=2))
            self.grow.append(nn.Conv2d(wider, 4 * width, 1))
            self.up.append(nn.ModuleList(Block(width, dim) for _ in range(depth)))
        self.middle = nn.ModuleList(Block(widths[-1], dim) for _ in range(depths[-1]))
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]
        self.line_mixture = None
        if mixed_line_blurs:
            self.line_mixture = nn.Conv2d(widths[0], mixed_line_blurs, 3, padding=1)
            nn.init.zeros_(self.line_mixture.weight)
            nn.init.zeros_(self.line_mixture.bias)  # pyright: ignore[reportArgumentType]

    def signal(self, sample: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """The predicted degraded latent: a correction of the clean one.

        Args:
            sample: as in `forward`; h and w divisible by 2**(scales - 1).
            time: (B,) noise level in [0, 1].
            context: (B, tokens, dim).
        """
        condition = self.mix(self.time(sinusoids(time).to(sample)) + self.context(context))
        x = sample.contiguous(memory_format=torch.channels_last)
        x, skips = self.conv_in(x), []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x, condition)
            skips.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, condition)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            x = F.pixel_shuffle(grow(x), 2) + skips.pop()
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x, condition)
        width = self.conv_out.out_channels
        clean = sample[:, width : 2 * width]
        if self.line_mixture is None:
            return clean + self.conv_out(x)
        return clean + self.conv_out(x) + self.blurred(clean, sample[:, 2 * width :], self.line_mixture(x))

    def blurred(self, clean: Tensor, layout: Tensor, shares: Tensor) -> Tensor:
        """What blurs along the told lines, each by its share, change in the clean latent.

        Args:
            clean, layout: (B, 3 * fold**2, h, w), folded pixels.
            shares: (B, mixed_line_blurs, h, w).
        """
        fold = math.isqrt(clean.shape[1] // 3)
        # Half precision is too coarse for positions.
        photo, told = (F.pixel_shuffle(part.float(), fold) for part in (clean, layout))
        blurs = line_blurs(photo, told, shares.shape[1]).flatten(0, 1)
        changes = F.pixel_unshuffle(blurs, fold).unflatten(0, shares.shape[:2]) - clean[:, None]
        return (changes.to(shares) * shares[:, :, None]).sum(1)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Velocity (noise - signal) for flow matching, x_t = (1 - t) * signal + t * noise.

        Args:
            sample: (B, in_channels, h, w), [noisy, clean, what follows] on the channels, C of the first two.
            timestep: 1000 * t, a number or (B,).
            encoder_hidden_states: (B, tokens, dim).
        """
        noisy = sample[:, : self.conv_out.out_channels]
        # In half precision neighbouring noise levels would be one and the same.
        time = torch.as_tensor(timestep, dtype=torch.float32, device=sample.device).expand(len(sample)) / 1000
        signal = self.signal(sample, time, encoder_hidden_states)
        velocity = ((noisy - signal) / time.clamp(min=MIN_TIME)[:, None, None, None]).to(sample.dtype)
        return UNet2DConditionOutput(sample=velocity) if return_dict else (velocity,)
