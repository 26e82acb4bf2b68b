"""How a restorer in training does on held pairs: PSNR and SSIM by degradation, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gendeg_core.metrics.fidelity import as_stored, psnr, ssim
from gendeg_core.types import Degradation
from train.common.restoration import as_images

AT_ONCE = 8
ROWS = 12  # pairs in the sheet


@torch.no_grad()
def restore_held(restore: Callable[[Tensor], Tensor], batch: Any, device: torch.device) -> Tensor:
    """The restored images (B, 3, S, S) of a batch, on the CPU, rounded as a file would hold them."""
    parts = [restore(as_images(part, device)).float().cpu() for part in batch["degraded"].split(AT_ONCE)]
    return as_stored(torch.cat(parts))


def held_numbers(restored: Tensor, batch: Any) -> dict[str, float]:
    """Mean PSNR and SSIM of all pairs and of each degradation, of the restored and of the degraded images."""
    cpu = torch.device("cpu")
    clean, degraded = as_images(batch["clean"], cpu), as_images(batch["degraded"], cpu)
    numbers: dict[str, float] = {}
    for name, metric in (("psnr", psnr), ("ssim", ssim)):
        for ending, images in (("", restored), ("_input", degraded)):
            values = torch.tensor([metric(a, b) for a, b in zip(images, clean, strict=True)])
            numbers[f"{name}{ending}"] = float(values.mean())
            for number, kind in enumerate(Degradation):
                chosen = values[batch["degradation"] == number]
                if len(chosen):
                    numbers[f"{name}_{kind}{ending}"] = float(chosen.mean())
    return numbers


def held_sheet(restored: Tensor, batch: Any) -> Tensor:
    """(rows, 3, 3, S, S): degraded, restored, clean."""
    cpu = torch.device("cpu")
    columns = as_images(batch["degraded"], cpu), restored, as_images(batch["clean"], cpu)
    return torch.stack([images[:ROWS] for images in columns], 1)
