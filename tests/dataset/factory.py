"""A factory small enough for tests: drawn photos, a fast engine, a filter with one rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from gendeg_core.dataset.clock import Clock
from gendeg_core.dataset.engines import EngineOptions, PhotoEngine
from gendeg_core.dataset.plan import Plan, PlanSettings, make_plan
from gendeg_core.dataset.run import ShardBuilder
from gendeg_core.seeds import torch_generator
from gendeg_core.statistics import degradation_map, measure
from gendeg_core.types import DegradationRequest, DegradationResult


def draw_photos(folder: Path, count: int, side: int = 40) -> Path:
    """`count` small drawn photos, the last in a subfolder."""
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
        inside = "inside/" if number == count - 1 else ""
        path = folder / f"{inside}photo {number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((side + 9, side), Image.Resampling.BICUBIC).save(path)
    return folder


class PaintEngine:
    """Moves every pixel towards white by mu, with noise from the request's seed and its prompt."""

    weights, scheduler, steps = "paint-1", "PaintScheduler", 3

    def clock(self) -> Clock:
        return Clock()

    def make(
        self, clean: torch.Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        with clock.stage("generator"):
            return [self._paint(clean, request) for request in requests]

    def _paint(self, clean: torch.Tensor, request: DegradationRequest) -> DegradationResult:
        noise = torch.rand(clean.shape, generator=torch_generator(request.seed)) * 0.1
        degraded = (clean + (1 - clean) * (request.mu + noise)).clamp(0, 1)
        mu, sigma = measure(clean, degraded)
        difference = degradation_map(clean, degraded)
        return DegradationResult(request, degraded, clean, difference, mu, sigma, self.weights)


class FailingEngine(PaintEngine):
    """Cannot degrade the photo whose caption says so."""

    def _paint(self, clean: torch.Tensor, request: DegradationRequest) -> DegradationResult:
        if request.caption == "trouble":
            raise ValueError("the picture holds NaN")
        if request.caption == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if request.caption == "fault":
            raise RuntimeError("an illegal access")
        return super()._paint(clean, request)


def load_paint(options: EngineOptions, names: Iterable[str], device: str | None) -> dict[str, PhotoEngine]:
    return {name: PaintEngine() for name in names}


def load_failing(options: EngineOptions, names: Iterable[str], device: str | None) -> dict[str, PhotoEngine]:
    return {name: FailingEngine() for name in names}


def judge(target: torch.Tensor, degraded: torch.Tensor, degradation: Any, mu_obtained: float) -> Any:
    """Refuses what is stronger than 0.1."""
    reason = f"mu {mu_obtained:.2f} is above 0.1" if mu_obtained > 0.1 else ""
    return SimpleNamespace(accepted=not reason, reason=reason, alignment=0.5, clipped=0.25)


def paint_judge() -> Any:
    return judge


def painter(**options: Any) -> ShardBuilder:
    """What makes shards in a test; workers can load it by name."""
    return ShardBuilder("", device="cpu", **({"load": load_paint, "judge": paint_judge} | options))


def small_plan(photos: Path, captions: dict[str, str] | None = None, **settings: Any) -> Plan:
    chosen = PlanSettings(str(photos), **({"photos_per_shard": 2} | settings))
    return Plan(chosen, make_plan(chosen, captions))


def shard_digests(output: Path) -> dict[str, str]:
    """Name to content of every shard and marker of a data set."""
    paths = [*output.glob("data/*.parquet"), *output.glob("markers/*.json")]
    return {path.name: hashlib.blake2b(path.read_bytes()).hexdigest() for path in sorted(paths)}
