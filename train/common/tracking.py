"""What a training run leaves to look at: its configuration, a line of numbers per log step, sample sheets."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Tracker:
    """Writes metrics.jsonl and pictures into the run folder, and to TensorBoard when it is installed and asked for."""

    def __init__(self, run: Path, config: Any, *, tensorboard: bool = False) -> None:
        self.run = run
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2, default=str))
        self.board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # an extra; ImportError names it

            self.board = SummaryWriter(str(run))

    def log(self, step: int, **numbers: float) -> None:
        with (self.run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, rows: Tensor) -> None:
        """Save a contact sheet of (rows, columns, 3, H, W) images in [0, 1]."""
        sheet = torch.cat([torch.cat(list(row), -1) for row in rows], -2)
        pixels = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(self.run / f"{name}-{step:07d}.png")
        if self.board is not None:
            self.board.add_image(name, sheet, step)


class Speedometer:
    """Images per second and model-FLOP utilisation between two calls.

    Utilisation is 3 x the forward FLOPs of the denoiser (forward and backward) over the FLOPs that a matrix
    product of this device and dtype was measured to reach when the run started.
    """

    def __init__(self, forward_flops: float, peak: float) -> None:
        self.forward_flops, self.peak = forward_flops, peak
        self.images, self.since = 0, time.perf_counter()

    def add(self, images: int) -> None:
        self.images += images

    def read(self) -> dict[str, float]:
        rate = self.images / (time.perf_counter() - self.since)
        self.images, self.since = 0, time.perf_counter()
        return {"images_per_second": rate, "mfu": 3 * self.forward_flops * rate / self.peak}


def count_forward_flops(module: nn.Module, *inputs: Tensor) -> float:
    """Floating point operations of one forward pass."""
    # The counter hooks into the gradient graph, so this one forward pass has to build it.
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return float(counter.get_total_flops())


@torch.no_grad()
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product, best of five."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ b).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
