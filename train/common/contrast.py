"""Contrastive losses between images and their texts, over the whole batch of all processes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Targets = Literal["identity", "repeated"]


def symmetric_loss(images: Tensor, texts: Tensor, scale: Tensor, tokens: Tensor, targets: Targets) -> Tensor:
    """Symmetric InfoNCE of embeddings (B, D) of length 1; row k of both belongs together.

    Args:
        scale: factor of the cosines.
        tokens: ids (B, L) of the texts.
        targets: identity, as published: the text of another image is wrong even if it says the same, so that
            with six words in a batch the loss stays near log(B / 6); repeated: all images with the same text
            are right, in equal shares, and the loss can come close to log of how often a text repeats.
    """
    logits = scale * images @ texts.T
    same = (tokens[:, None] == tokens[None]).all(-1)
    wanted = torch.eye(len(logits), device=logits.device) if targets == "identity" else same.float()
    shares = wanted / wanted.sum(1, keepdim=True)  # symmetric before the division, so it serves both ways
    return (F.cross_entropy(logits, shares) + F.cross_entropy(logits.T, shares)) / 2


def gathered(values: Tensor) -> Tensor:
    """The rows (B, ...) of all processes, in their order, with gradient; `values` itself for one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    if not values.is_floating_point():
        parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, values)
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values))
