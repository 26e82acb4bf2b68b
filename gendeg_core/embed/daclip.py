"""DA-CLIP: a CLIP whose image tower is steered by a trainable copy of itself, which names degradations too.

Luo et al., "Controlling Vision-Language Models for Multi-Task Image Restoration" (ICLR 2024), section 3. The
controller runs beside the image tower. Its pooled output is the degradation embedding; a linear layer after
each of its blocks makes a control tensor that the image tower adds to its own tokens, which turns the tower's
output into the content embedding, that of the clean photo. Any open_clip model with a Vision Transformer will
do.

The controls are consumed from the end: the tower's first block receives what the controller's LAST block
made. Pairing equal numbers instead loads the published weights without complaint and gives wrong embeddings.

Two faults of the original's initialisation are not repeated; they do not touch published weights, which are
loaded over it. There, `ln_post` of the controller stays at ones and zeros instead of CLIP's values, and the
control layer of block 0 is filled with CLIP's `ln_post` instead of zeros, which disturbs the image tower from
the first step on. Here the whole controller is a copy and every control layer begins at zero, so that an
untrained DA-CLIP gives exactly CLIP's content embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.transformer import Transformer, VisionTransformer
from torch import Tensor, nn

from gendeg_core.embed.texture import TextureStem

RGB = 3


class Features(NamedTuple):
    """Everything the losses compare; all embeddings are of length 1."""

    content: Tensor  # (A, D), as many as captions
    degradation: Tensor  # (B, D)
    caption: Tensor  # (A, D)
    degradation_text: Tensor  # (B, D)
    scale: Tensor  # factor of the cosines, not its logarithm
    clean: Tensor | None  # (A, D), the clean images seen by CLIP alone


class ControlTransformer(nn.Module):
    """The controller's blocks, each with a linear layer that turns its output into a control tensor.

    `transformer` and `zero_modules` are the published names.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer
        width = transformer.width
        self.zero_modules = nn.ModuleList(nn.Linear(width, width) for _ in transformer.resblocks)
        for layer in self.zero_modules.parameters():
            nn.init.zeros_(layer)

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, T, W) to the last block's tokens and one control (B, T, W) per block, in block order."""
        controls = []
        for block, control in zip(self.transformer.resblocks, self.zero_modules, strict=True):
            tokens = block(tokens)
            controls.append(control(tokens))  # a branch: the chain of blocks does not pass through it
        return tokens, controls


class DaCLIP(nn.Module):
    """A CLIP and its image controller.

    Args:
        clip: an open_clip model with a Vision Transformer; it is used, not copied.
        frozen: whether CLIP's own weights stay as they are in training, as published.

    Raises:
        ValueError: the image tower is no Vision Transformer.
    """

    def __init__(self, clip: nn.Module, *, frozen: bool = True) -> None:
        super().__init__()
        tower = clip.visual
        if not isinstance(tower, VisionTransformer) or not isinstance(tower.transformer, Transformer):
            raise ValueError(
                f"DA-CLIP needs a Vision Transformer as image tower, not {type(tower).__name__}; "
                "choose an open_clip model such as ViT-B-32"
            )
        self.clip: Any = clip
        self.visual_control: Any = copy.deepcopy(tower)
        self.visual_control.transformer = ControlTransformer(self.visual_control.transformer)
        self.frozen = frozen
        self.logit_scale = nn.Parameter(self.clip.logit_scale.detach().clone())
        clip.requires_grad_(not frozen)
        self.clip.logit_scale.requires_grad_(False)  # a leftover; only ours is used

    def encode_image(self, images: Tensor, control: bool = True) -> tuple[Tensor, Tensor | None]:
        """Content and degradation embeddings (B, D), not normalised, of images (B, 3, S, S).

        `images` are resized and normalised as CLIP wants them; here and below, a model with a texture stem
        takes their statistics as well.
        Without `control` the content is plain CLIP's and there is no degradation embedding.
        """
        if not control:
            return self.encode_content(images, None), None
        stem = self.visual_control.conv1
        if isinstance(stem, TextureStem) and images.shape[1] == RGB:
            images = stem.statistics(images)  # both towers begin with the same
        degradation, controls = self.encode_degradation(images)
        return self.encode_content(images, controls), degradation

    def encode_degradation(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Degradation embedding (B, D) and the controls, one (B, T, W) per block of the controller."""
        tokens, controls = self.visual_control.transformer(self.visual_control._embeds(images))
        return _pooled(self.visual_control, tokens), controls

    def encode_content(self, images: Tensor, controls: Sequence[Tensor] | None) -> Tensor:
        """Content embedding (B, D); plain CLIP's for no controls."""
        tower = self.clip.visual
        tokens = tower._embeds(images)
        blocks = tower.transformer.resblocks
        if controls is None:
            tokens = tower.transformer(tokens)
        else:
            for block, control in zip(blocks, reversed(controls), strict=True):
                tokens = block(tokens) + control
        return _pooled(tower, tokens)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, D), not normalised, of token ids (B, L)."""
        return self.clip.encode_text(tokens)

    def forward(
        self, images: Tensor, captions: Tensor, degradations: Tensor, clean: Tensor | None = None
    ) -> Features:
        """Embeddings of a training batch.

        Args:
            images: degraded images (B, 3, S, S).
            captions: token ids (A, L); the first A <= B images get content embeddings, which cost the most.
            degradations: token ids (B, L).
            clean: the clean images, encoded by CLIP without the controller; without gradient if it is frozen.
        """
        degradation, controls = self.encode_degradation(images)
        shown = images[: len(captions)]
        content = self.encode_content(shown, [control[: len(shown)] for control in controls])
        # there are few words for degradations: each is encoded once
        texts, places = torch.cat([captions, degradations]).unique(dim=0, return_inverse=True)
        encoded = F.normalize(self.encode_text(texts), dim=-1)[places]
        caption, degradation_text = encoded.split([len(captions), len(degradations)])
        target = None
        if clean is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                target = F.normalize(self.encode_content(clean[: len(shown)], None), dim=-1)
        return Features(
            content=F.normalize(content, dim=-1),
            degradation=F.normalize(degradation, dim=-1),
            caption=caption,
            degradation_text=degradation_text,
            scale=self.logit_scale.exp(),
            clean=target,
        )


def _pooled(tower: Any, tokens: Tensor) -> Tensor:
    """What a Vision Transformer of open_clip makes of its last block's tokens, (B, D)."""
    pooled, _ = tower._pool(tokens)
    return pooled if tower.proj is None else pooled @ tower.proj
