"""NAFNet (arXiv 2204.04676) as a restorer: the layers of `nafnet_blocks` around a global residual."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from gendeg_core.nafnet_blocks import nafnet_layers, run_nafnet


class NAFNet(ModelMixin, ConfigMixin):
    """The published network; the keys of its state are those of the published checkpoints.

    Args:
        width: channels at full resolution; they double at each level.
        encoder_blocks: blocks per level, from full resolution down.
        middle_blocks: blocks at the lowest resolution.
        decoder_blocks: blocks per level, from the lowest resolution up.
        train_size: side of the crops it was trained on, so that larger images can be pooled locally (see
            `local_pooling`); 0 where that is not wanted. It does not change the network itself.
        photo_side: short side that large photos are shrunk to for the means of the attention instead (see
            `photo_pooling`); 0 where that is not wanted. It does not change the network itself either.
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
        train_size: int = 0,  # noqa: ARG002 - read from the stored configuration
        photo_side: int = 0,  # noqa: ARG002 - likewise
    ) -> None:
        super().__init__()
        layers = nafnet_layers(
            3,
            3,
            width=width,
            encoder_blocks=encoder_blocks,
            middle_blocks=middle_blocks,
            decoder_blocks=decoder_blocks,
        )
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, 3, H, W) of one in [0, 1]; any size, not clamped."""
        return image + run_nafnet(self, image)
