"""What a training run leaves to look at: a line of numbers per log step, sample sheets."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Tracker:
    """Writes metrics.jsonl and pictures into the run folder, and to TensorBoard when it is asked for.

    Args:
        run: the run folder.
        first: steps done so far; lines of later steps, from before an interruption, are dropped.
        active: False in all processes but the main one, which alone writes.
        tensorboard: needs the package of that name.
    """

    def __init__(self, run: Path, first: int, active: bool, *, tensorboard: bool = False) -> None:
        self.run, self.metrics, self.active = run, run / "metrics.jsonl", active
        if active and self.metrics.exists():
            _keep_steps(self.metrics, first)
        self.board = None
        if active and tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(run), purge_step=first + 1)

    def log(self, step: int, **numbers: float) -> None:
        if not self.active:
            return
        with self.metrics.open("a") as file:
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


def _keep_steps(metrics: Path, last: int) -> None:
    """Keep the lines up to step `last`; a line cut short by a kill goes too."""
    lines = metrics.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= last]
    temporary = metrics.with_suffix(".partial")
    temporary.write_text("".join(kept))
    os.replace(temporary, metrics)


class Speedometer:
    """Images per second and model-FLOP utilisation between two calls.

    Utilisation is 3 x the forward FLOPs of the trained network (forward and backward) over the FLOPs that a
    matrix product of this device and dtype was measured to reach when the run started.
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


def psnr(image: Tensor, reference: Tensor) -> float:
    """Mean over images (B, 3, H, W) in [-1, 1] of their PSNR in dB; infinite if each is exact."""
    error = (image.clamp(-1, 1) - reference).square().mean((1, 2, 3)) / 4
    return (-10 * error.log10()).mean().item()


def count_forward_flops(module: nn.Module, *inputs: Tensor) -> float:
    """Floating point operations of one forward pass."""
    # The counter hooks into the gradient graph, so this one forward pass has to build it.
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return float(counter.get_total_flops())


def make_speedometer(accelerator: Accelerator, network: nn.Module, *inputs: Tensor) -> Speedometer:
    """A speedometer for the training of `network`, whose forward pass takes one image as `inputs`."""
    precision = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = precision[accelerator.mixed_precision]
    peak = measured_peak(accelerator.device, dtype) * accelerator.num_processes
    return Speedometer(count_forward_flops(network, *inputs), peak)


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
