"""A tiny engine whose timing a test can rely on, and photos drawn in code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from gendeg_core.statistics import degradation_map, measure
from gendeg_core.synthesize import DEFAULT_SAMPLING, Sampling
from gendeg_core.types import DegradationRequest, DegradationResult, Progress


class SlowEngine:
    """Adds mu to every pixel after `steps` pauses; `closed` counts the runs that were cancelled."""

    name = "gendeg"
    weights = "slow-test-engine"

    def __init__(self, steps: int = 10, pause: float = 0.0) -> None:
        self.steps, self.pause = steps, pause
        self.started = self.finished = self.closed = 0
        self.samplings: list[Sampling] = []

    def run(
        self, clean: Tensor, request: DegradationRequest, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Progress | DegradationResult]:
        self.started += 1
        self.samplings.append(sampling)
        try:
            for step in range(self.steps):
                time.sleep(self.pause)
                yield Progress(step, self.steps)
            degraded = (clean + request.mu).clamp(0, 1)
            mu, sigma = measure(clean, degraded)
            change = degradation_map(clean, degraded)
            yield DegradationResult(request, degraded, clean, change, mu, sigma, self.weights)
            self.finished += 1
        except GeneratorExit:
            self.closed += 1
            raise


def scene(width: int = 96, height: int = 72) -> np.ndarray:
    """Bytes (height, width, 3): a sky gradient, a dark block and fine stripes."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([90 + 100 * x / width, 120 + 80 * y / height, 60 + 120 * (1 - y / height)], -1)
    image[height // 2 :, width // 3 : width // 2] = (40, 60, 30)
    image[:, width * 3 // 4 :] += 30 * ((x[:, width * 3 // 4 :, None] // 2) % 2)
    return image.clip(0, 255).astype(np.uint8)


def write_scene(path: Path, width: int = 96, height: int = 72) -> Path:
    Image.fromarray(scene(width, height)).save(path)
    return path
