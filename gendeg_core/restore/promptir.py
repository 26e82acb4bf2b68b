"""PromptIR (arXiv 2306.13090): a Restormer body whose decoder is told the degradation by learned prompts.

Names of modules are those of the published checkpoint. Its class works at 48 channels only; the same layout
is written here for any number of them. Transformer blocks are in `promptir_blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from gendeg_core.restore.padding import mirrored
from gendeg_core.restore.promptir_blocks import (
    Downsample,
    PatchEmbedding,
    PromptBlock,
    TransformerBlock,
    Upsample,
    stage,
)

MULTIPLE = 8  # three halvings


class PromptIR(ModelMixin, ConfigMixin):
    """The published network with its decoder and prompts.

    Args:
        width: channels at full resolution.
        blocks: transformer blocks per level, from full resolution down; the last is the latent.
        refinement_blocks: blocks after the decoder, at full resolution.
        heads: attention heads per level; each must divide the channels of its level.
        prompt_channels: channels of the prompts, from full resolution down.
        prompt_sizes: sides of the stored prompts, from full resolution down.
        unused_layers: also make the layers that the published class holds and never calls: its checkpoint
            stores them. They get no gradient.
        photo_side: short side that large photos are shrunk to for the attention and the prompts (see
            `photo_pooling`); 0 where that is not wanted. It does not change the network itself.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        prompt_channels: Sequence[int] = (64, 128, 320),
        prompt_sizes: Sequence[int] = (64, 32, 16),
        unused_layers: bool = True,
        photo_side: int = 0,  # noqa: ARG002 - read from the stored configuration
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = (width * 2**level for level in range(4))
        d1, d2, d3 = prompt_channels
        s1, s2, s3 = prompt_sizes

        self.patch_embed = PatchEmbedding(3, c1)
        self.encoder_level1 = stage(c1, heads[0], blocks[0])
        self.down1_2 = Downsample(c1)
        self.encoder_level2 = stage(c2, heads[1], blocks[1])
        self.down2_3 = Downsample(c2)
        self.encoder_level3 = stage(c3, heads[2], blocks[2])
        self.down3_4 = Downsample(c3)
        self.latent = stage(c4, heads[3], blocks[3])

        # All three noise blocks have the heads of level 3, as published.
        self.prompt3 = PromptBlock(d3, s3, c4)
        self.noise_level3 = TransformerBlock(c4 + d3, heads[2])
        self.reduce_noise_level3 = _pointwise(c4 + d3, c3)
        self.up4_3 = Upsample(c3)
        self.reduce_chan_level3 = _pointwise(c2 + c3, c3)
        self.decoder_level3 = stage(c3, heads[2], blocks[2])

        self.prompt2 = PromptBlock(d2, s2, c3)
        self.noise_level2 = TransformerBlock(c3 + d2, heads[2])
        self.reduce_noise_level2 = _pointwise(c3 + d2, c3)
        self.up3_2 = Upsample(c3)
        self.reduce_chan_level2 = _pointwise(2 * c2, c2)
        self.decoder_level2 = stage(c2, heads[1], blocks[1])

        self.prompt1 = PromptBlock(d1, s1, c2)
        self.noise_level1 = TransformerBlock(c2 + d1, heads[2])
        self.reduce_noise_level1 = _pointwise(c2 + d1, c2)
        self.up2_1 = Upsample(c2)
        self.decoder_level1 = stage(c2, heads[0], blocks[0])

        self.refinement = stage(c2, heads[0], refinement_blocks)
        self.output = nn.Conv2d(c2, 3, 3, padding=1, bias=False)
        if unused_layers:
            for name, (inputs, outputs) in _unused(width, d1, d2, d3).items():
                self.add_module(name, _pointwise(inputs, outputs))

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, 3, H, W) of one in [0, 1]; any size, not clamped."""
        height, width = image.shape[-2:]
        padded = mirrored(image, MULTIPLE)
        x = self.patch_embed(padded.contiguous(memory_format=torch.channels_last))
        skip1 = self.encoder_level1(x)
        skip2 = self.encoder_level2(self.down1_2(skip1))
        skip3 = self.encoder_level3(self.down2_3(skip2))
        x = self.latent(self.down3_4(skip3))

        x = self.noise_level3(_join(x, self.prompt3(x)))
        x = _join(self.up4_3(self.reduce_noise_level3(x)), skip3)
        x = self.decoder_level3(self.reduce_chan_level3(x))

        x = self.noise_level2(_join(x, self.prompt2(x)))
        x = _join(self.up3_2(self.reduce_noise_level2(x)), skip2)
        x = self.decoder_level2(self.reduce_chan_level2(x))

        x = self.noise_level1(_join(x, self.prompt1(x)))
        x = _join(self.up2_1(self.reduce_noise_level1(x)), skip1)
        x = self.refinement(self.decoder_level1(x))
        return (self.output(x) + padded)[..., :height, :width]


def _unused(width: int, d1: int, d2: int, d3: int) -> dict[str, tuple[int, int]]:
    """Channels in and out of the layers that are stored and never called."""
    return {
        "chnl_reduce1": (d1, d1),
        "chnl_reduce2": (d2, d2),
        "chnl_reduce3": (d3, 256),
        "reduce_noise_channel_1": (width + 64, width),
        "reduce_noise_channel_2": (2 * width + 128, 2 * width),
        "reduce_noise_channel_3": (4 * width + 256, 4 * width),
    }


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _join(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=1)
