"""GenDeg's Swin restorer (arXiv 2411.17687, section 3.3): a Swin encoder and a decoder of five blocks.

The paper gives the encoder (Swin-B), the five blocks of convolution, ReLU, transposed convolution and ReLU,
and the three skips. Chosen here, because it does not say: channels of the decoder, transposed convolutions of
kernel 2, and a last 3x3 convolution, without which the final ReLU could not lower a value. Nor does it say
what the encoder starts from, ImageNet or chance: here from random weights.

The encoder sees the image in patches of 4 pixels, and a small one keeps too little of them to put streaks,
edges and drops right. The small configurations therefore end in a refinement that sees the image itself, in
the manner of FFDNet (arXiv 1710.04026): convolutions at half the resolution, told by the decoder what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from gendeg_core.restore.padding import mirrored

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
MULTIPLE = 32  # the encoder's coarsest stage


class SwinRestorer(ModelMixin, ConfigMixin):
    """A hierarchical encoder by its timm name, and a convolutional decoder, both with random weights.

    Args:
        variant: name of any timm model of the Swin family (Swin, Swin V2) with stages at 1/4 to 1/32.
        options: changes to it, as its timm class names them: `embed_dim`, `depths`, `num_heads`,
            `window_size`, `mlp_ratio`, `drop_path_rate`.
        decoder_channels: of the five blocks, from 1/16 of the resolution to the whole.
        residual: whether the network gives a correction of the image, a gain and an offset for each of its
            values, which is how darkness and veils act; the published one gives the image.
        negative_slope: of the decoder's activations; 0, a ReLU, as published. ReLUs die at the learning rates
            that a short training needs.
        embed_norm: whether patches are normalised as soon as they are embedded, as published; without, a
            short training sees at once how bright they are.
        refinement_channels, refinement_blocks: of what corrects the output from the image and the decoder's
            last channels; 0 channels for none, as published. It starts without any effect.
    """

    mean: Tensor
    std: Tensor

    @register_to_config
    def __init__(
        self,
        variant: str = "swin_base_patch4_window7_224",
        options: dict[str, Any] | None = None,
        decoder_channels: Sequence[int] = (512, 256, 128, 64, 64),
        residual: bool = False,
        negative_slope: float = 0.0,
        embed_norm: bool = True,
        refinement_channels: int = 0,
        refinement_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.encoder = _encoder(variant, options or {})
        if not embed_norm:
            self.encoder.patch_embed.norm = nn.Identity()
        quarter, eighth, sixteenth, deepest = self.encoder.feature_info.channels()
        first, second, third, fourth, fifth = decoder_channels
        self.decoder = nn.ModuleList(
            [
                _decoder_block(deepest, first, negative_slope),
                _decoder_block(first + sixteenth, second, negative_slope),
                _decoder_block(second + eighth, third, negative_slope),
                _decoder_block(third + quarter, fourth, negative_slope),
                _decoder_block(fourth, fifth, negative_slope),
            ]
        )
        outputs = 6 if residual else 3
        self.output = nn.Conv2d(fifth, outputs, 3, padding=1)
        if refinement_channels:
            self.refinement = Refinement(
                3 + fifth, outputs, refinement_channels, refinement_blocks, negative_slope
            )
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    @property
    def grid(self) -> int:
        """Side in pixels of the coarsest stage's windows, which are laid from the top left corner."""
        sides = (getattr(block, "window_size", (1, 1))[0] for block in self.encoder.modules())
        return MULTIPLE * max(sides)

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, 3, H, W) of one in [0, 1]; any size, not clamped."""
        height, width = image.shape[-2:]
        # Windows that reach beyond the image are filled with zeros, and these change what is seen in all the
        # rest; mirrored photo does not. In training it costs too much; below one window there is no choice.
        whole = not self.training and min(height, width) >= self.grid
        padded = mirrored(image, self.grid if whole else MULTIPLE)
        normalised = (padded - self.mean) / self.std
        stages = self.encoder(normalised)
        *skips, x = _channels_first(stages, self.encoder.feature_info.channels())
        for block in self.decoder:
            x = block(x)
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
        output = self.output(x)
        if self.config["refinement_channels"]:
            output = output + self.refinement(torch.cat([normalised, x], dim=1))
        output = output[..., :height, :width]
        if not self.config["residual"]:
            return output
        gain, offset = output.chunk(2, dim=1)
        return image * (1 + gain) + offset


class Refinement(nn.Module):
    """(B, inputs, H, W) of even sides -> (B, outputs, H, W): residual blocks at half the resolution.

    The last convolution starts at 0, so that it can be added to a network that is trained already.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, blocks: int, negative_slope: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(4 * inputs, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(negative_slope),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(channels, 4 * outputs, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(functional.pixel_unshuffle(x, 2))
        for block in self.blocks:
            x = x + block(x)
        return functional.pixel_shuffle(self.last(x), 2)


def _encoder(name: str, options: dict[str, Any]) -> Any:
    """The four stages of a timm model with random weights; windows keep their size whatever the image's."""
    import timm

    return timm.create_model(
        name,
        pretrained=False,
        features_only=True,
        strict_img_size=False,
        always_partition=True,
        **options,
    )


def _channels_first(stages: list[Tensor], channels: list[int]) -> list[Tensor]:
    """Stages as (B, C, h, w): Swin and Swin V2 give their channels last, their variant CR first.

    A single stage may be as wide as it has channels; not all, as sides shrink while channels grow.
    """
    last = all(stage.shape[-1] == count for stage, count in zip(stages, channels, strict=True))
    return [stage.permute(0, 3, 1, 2) for stage in stages] if last else stages


def _decoder_block(inputs: int, outputs: int, negative_slope: float) -> nn.Sequential:
    """(B, inputs, h, w) -> (B, outputs, 2h, 2w); starts with signals of one size throughout (He et al.)."""
    mix = nn.Conv2d(inputs, outputs, 3, padding=1)
    grow = nn.ConvTranspose2d(outputs, outputs, 2, stride=2)
    # A transposed convolution as large as its stride sums over channels only. The default would shrink the
    # signal in every layer until the encoder no longer shows in the image.
    for layer, fan_in in ((mix, 9 * inputs), (grow, outputs)):
        nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
        nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    activation = nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()
    return nn.Sequential(mix, activation, grow, activation)
