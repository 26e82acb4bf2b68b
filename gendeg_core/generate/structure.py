"""Structure correction: puts back the scene's structure that the latent model lost.

GenDeg (arXiv 2411.17687), eq. 2: x_S = x_gen + S([c_img, x_gen]). The order inside the brackets is that of
the published network; the paper writes it the other way round. Used for haze, motion blur and raindrop only:
it smears streaks, flakes and dark texture (section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from gendeg_core.nafnet_blocks import nafnet_layers, run_nafnet


class StructureCorrection(ModelMixin, ConfigMixin):
    """A NAFNet that sees the clean and the generated image and corrects the generated one.

    Args:
        width: channels at full resolution; they double at each level.
        encoder_blocks: blocks per level, from full resolution down.
        middle_blocks: blocks at the lowest resolution.
        decoder_blocks: blocks per level, from the lowest resolution up.
    """

    intro: nn.Conv2d
    encoders: nn.ModuleList
    downs: nn.ModuleList
    middle_blks: nn.Sequential
    ups: nn.ModuleList
    decoders: nn.ModuleList
    ending: nn.Conv2d

    @register_to_config
    def __init__(
        self,
        width: int = 64,
        encoder_blocks: Sequence[int] = (2, 2, 4, 8),
        middle_blocks: int = 12,
        decoder_blocks: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        layers = nafnet_layers(
            6,
            3,
            width=width,
            encoder_blocks=encoder_blocks,
            middle_blocks=middle_blocks,
            decoder_blocks=decoder_blocks,
        )
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, clean: Tensor, generated: Tensor) -> Tensor:
        """The corrected image (B, 3, H, W) of two images of that shape in [-1, 1]; any size, not clamped."""
        if clean.shape != generated.shape:
            raise ValueError(
                f"clean {tuple(clean.shape)} and generated {tuple(generated.shape)} must be of one size"
            )
        return generated + run_nafnet(self, torch.cat([clean, generated], dim=1))  # Eq. 2
