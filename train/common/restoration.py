"""How restorers are trained: losses, and the recipes of NAFNet, PromptIR and the Swin network.

NAFNet (arXiv 2204.04676) minimises the negative PSNR under a very small bound on the gradient; PromptIR
(arXiv 2306.13090) the absolute error with a warm-up and a cosine that would reach 0 only a quarter of the run
after its end. GenDeg does not say how its Swin network was trained: AdamW, cosine and absolute error here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from train.common.crops import Moves

Model = Literal["nafnet", "promptir", "swin"]
Loss = Literal["psnr", "bounded_psnr", "cautious", "l1"]


class Recipe(TypedDict):
    """The options of a training run that the papers settle."""

    size: int
    batch: int
    steps: int
    loss: Loss
    learning_rate: float
    final_rate: float
    betas: tuple[float, float]
    weight_decay: float
    warmup: float
    horizon: float
    clip: float
    moves: Moves


# Batches are per process. NAFNet: width 64, 8 GPUs, as for GoPro. PromptIR: 4 GPUs, 120 epochs of 4462 steps
# rounded; its published schedule also wastes its first two epochs at rate 0, which is left out.
PAPER: dict[Model, Recipe] = {
    "nafnet": {
        "size": 256, "batch": 8, "steps": 400_000, "loss": "psnr", "learning_rate": 1e-3,
        "final_rate": 1e-7, "betas": (0.9, 0.9), "weight_decay": 1e-3, "warmup": 0.0, "horizon": 1.0,
        "clip": 0.01, "moves": "turns",
    },
    "promptir": {
        "size": 128, "batch": 8, "steps": 500_000, "loss": "l1", "learning_rate": 2e-4, "final_rate": 0.0,
        "betas": (0.9, 0.999), "weight_decay": 0.01, "warmup": 0.125, "horizon": 1.25, "clip": 0.0,
        "moves": "always",
    },
    "swin": {
        "size": 256, "batch": 8, "steps": 300_000, "loss": "l1", "learning_rate": 2e-4, "final_rate": 1e-7,
        "betas": (0.9, 0.999), "weight_decay": 0.01, "warmup": 0.02, "horizon": 1.0, "clip": 1.0,
        "moves": "turns",
    },
}  # fmt: skip

# A run of minutes. A PSNR loss for all three: it counts the error of each pair against that pair's own, so
# that weakly degraded photos matter from the start, where the absolute error would first spoil them; bounded,
# as a crop that no drop fell on would otherwise outweigh all others and teach nothing but to leave alone.
# NAFNet's branches start switched off and need a high rate to open in so few steps; the Swin network learns
# haze slowly above 5e-4. The longer memory of the second moment suits small batches.
SHORT: dict[Model, dict[str, Any]] = {
    model: {
        **recipe, "loss": "bounded_psnr", "learning_rate": rate, "final_rate": 1e-6, "betas": (0.9, 0.99),
        "warmup": 0.05, "horizon": 1.0, "clip": 0.01, "moves": "mirror",
    }
    for (model, recipe), rate in zip(PAPER.items(), (3e-3, 1e-3, 5e-4), strict=True)
}  # fmt: skip


CAUTION = 3.0  # chosen among 0, 2, 4 and 8 by short runs: the more, the less is gained where much can be

# Losses take images (B, 3, H, W), restored, clean and degraded, of which the last two are in [0, 1].


def psnr_loss(restored: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Negative PSNR in dB, the mean over the batch."""
    return _decibels(_squared_error(restored, clean), 1e-8).mean()


def bounded_psnr_loss(restored: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """The same, but what is better than 40 dB gains little."""
    return _decibels(_squared_error(restored, clean), 1e-4).mean()


def cautious_loss(restored: Tensor, clean: Tensor, degraded: Tensor, caution: float = CAUTION) -> Tensor:
    """Bounded PSNR and half as much of SSIM, both in dB, where harm counts more than gain.

    What an image is worse than it was before counts `caution` times more: a small network that does not know
    what to do with an image then learns to leave it alone.
    """
    loss = torch.zeros((), device=clean.device)
    for weight, error, bound in ((1.0, _squared_error, 1e-4), (0.5, _dissimilarity, 1e-2)):
        after, before = (_decibels(error(image, clean), bound) for image in (restored, degraded))
        loss = loss + weight * (after + caution * (after - before).relu())
    return loss.mean()


def l1_loss(restored: Tensor, clean: Tensor, _degraded: Tensor) -> Tensor:
    """Mean absolute error."""
    return (restored - clean).abs().mean()


LOSSES = {"psnr": psnr_loss, "bounded_psnr": bounded_psnr_loss, "cautious": cautious_loss, "l1": l1_loss}


def loss_function(name: Loss, caution: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of this name, of images as above; `caution` is for the cautious one."""
    return functools.partial(cautious_loss, caution=caution) if name == "cautious" else LOSSES[name]


def _squared_error(image: Tensor, clean: Tensor) -> Tensor:
    return (image - clean).square().mean((1, 2, 3))


def _dissimilarity(image: Tensor, clean: Tensor) -> Tensor:
    """1 - SSIM of each image of the batch."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity = structural_similarity_index_measure(image, clean, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor), "a tuple only where the parts are asked for"
    return 1 - similarity


def _decibels(error: Tensor, bound: float) -> Tensor:
    return 10 / math.log(10) * (error + bound).log()


def rate_factor(step: int, steps: int, *, warmup: float, horizon: float, final: float) -> float:
    """Factor on the learning rate: a straight rise, then a cosine from 1 to `final`.

    Args:
        warmup: share of the run in which the rate rises.
        horizon: where the cosine reaches `final`, in lengths of the run.
    """
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    way = min((step - rise) / max(horizon * steps - rise, 1), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * way)) / 2


def as_images(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, 3, S, S) to float32 in [0, 1] on `device`."""
    return pixels.to(device).float() / 255
