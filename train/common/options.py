"""The options that every training script has: where it writes, what it sees, how long it runs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from train.common.errors import UsageError


@dataclass(frozen=True)
class RunOptions:
    """One training run.

    Args:
        output: run folder: configuration, metrics, samples, checkpoint and, at the end, weights.
        photos, captions: clean photos for the simulators, and a CSV with columns file, caption, suitable.
        pairs: existing pairs as PATH, PATH=WEIGHT, DEGRADATION=PATH or DEGRADATION=PATH=WEIGHT: what
            `dataset run` wrote, GenDS, or folders lq and gt.
        simulated_weight: weight of the simulators beside the stored pairs.
        emphasis: DEGRADATION=TIMES: simulate this degradation so many times as often as one not named.
        border: pixels cut off every photo's edge.
        size: side of the square crops in pixels.
        pool: make this many pairs once and keep them in the run folder; 0 makes each pair when it is needed.
        workers: processes that make pairs.
        steps: optimiser steps; batch: pairs per process and micro-batch.
        precision: of the networks' forward and backward pass; weights, optimiser and EMA stay float32.
    """

    output: Path = Path("runs/model")
    photos: Path | None = None
    captions: Path | None = None
    pairs: tuple[str, ...] = ()
    simulated_weight: float = 1.0
    emphasis: tuple[str, ...] = ()
    border: int = 0
    size: int = 256
    pool: int = 0
    workers: int = 4
    seed: int = 0

    steps: int = 100_000
    batch: int = 16
    gradient_accumulation: int = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    tensorboard: bool = False
    log_every: int = 50
    save_every: int = 500
    sample_every: int = 1000

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch",
            "size",
            "gradient_accumulation",
            "log_every",
            "save_every",
            "sample_every",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("pool", "workers", "border", "simulated_weight"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}={getattr(self, name)} must not be negative")


def make_accelerator(options: RunOptions, *, unused: bool = False) -> Accelerator:
    """One CPU, one GPU or many, as `accelerate launch` has set it up.

    Args:
        unused: some trained parameters take no part in the loss.
    """
    # The main process makes pools and sample sheets while the others wait, for longer than the usual minutes.
    patience = InitProcessGroupKwargs(timeout=datetime.timedelta(days=1))
    return Accelerator(
        mixed_precision=options.precision,
        gradient_accumulation_steps=options.gradient_accumulation,
        kwargs_handlers=[patience, DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )


def check_size(size: int, multiple: int) -> None:
    """Raise UsageError unless crops of `size` pixels fit codec and network."""
    if size % multiple:
        better = max(round(size / multiple), 1) * multiple
        raise UsageError(
            f"size={size} is not divisible by {multiple}, as this model needs; use --size {better}"
        )
