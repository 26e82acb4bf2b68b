"""Numbers of one restorer on all test images: PSNR and SSIM of RGB images as an 8-bit file holds them.

Every image goes through the network in one piece. A restorer is tested as it ships: opened from weights in
half precision, computed in single, pooling as `load_restorer` sets it up.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendeg_core.dataset.readers import pairs_in
from gendeg_core.device import pick_device
from gendeg_core.metrics.fidelity import as_stored, psnr, ssim
from gendeg_core.restore.loading import load_restorer
from gendeg_core.types import Degradation
from train.common.pool import PairPool
from train.experiment.config import ExperimentConfig
from train.experiment.data import KINDS, family_of

SIMULATED = ("within", "left-out")
REAL = "real"


@dataclass(frozen=True)
class HeldImage:
    """One pair of a test.

    Args:
        test: within, left-out or real.
        source: the simulator family, or the name of the real data set.
        name: unique within all tests.
    """

    test: str
    degradation: Degradation
    source: str
    name: str
    degraded: Tensor  # (3, H, W) in [0, 1]
    clean: Tensor


@dataclass(frozen=True)
class Score:
    """What one restorer reached on one image."""

    test: str
    degradation: str
    source: str
    name: str
    psnr: float
    ssim: float


def held_images(config: ExperimentConfig) -> Iterator[HeldImage]:
    """All test images, in the same order every time."""
    for test in SIMULATED:
        pool = PairPool.stored(config.data / test)
        for k in range(pool.length):
            pair, kind = pool.entry(k), KINDS[k % len(KINDS)]
            images = pair["degraded"].float() / 255, pair["clean"].float() / 255
            name = f"{test}-{kind}-{k // len(KINDS):03d}"
            yield HeldImage(test, kind, family_of(k, test == "left-out"), name, *images)
    if config.real_pairs is not None:
        yield from _real_images(config.real_pairs, config.test_size)


def _real_images(folder: Path, size: int) -> Iterator[HeldImage]:
    """The middle of every real pair, at its own resolution."""
    for pair in pairs_in(folder):
        place = Path(pair["name"]).relative_to(folder)  # DEGRADATION/SET/lq/FILE
        source = place.parent.parent.name
        images = (_middle(pair[side], size) for side in ("degraded", "target"))
        kind = pair["degradation"]
        assert kind is not None, "pairs_in refuses folders that do not tell"
        yield HeldImage(REAL, kind, source, place.as_posix(), *images)


def _middle(pixels: np.ndarray, size: int) -> Tensor:
    height, width = pixels.shape[:2]
    rows, columns = min(size, height), min(size, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = pixels[top : top + rows, left : left + columns].copy()
    return torch.from_numpy(cut).permute(2, 0, 1).float() / 255


def scores(config: ExperimentConfig, restore: Callable[[Tensor], Tensor]) -> list[Score]:
    """Scores of `restore`, (1, 3, H, W) to the same, on all test images."""
    found = []
    for image in held_images(config):
        with torch.inference_mode():
            restored = as_stored(restore(image.degraded[None])[0].float())
        place = image.test, image.degradation.value, image.source, image.name
        found.append(Score(*place, psnr(restored, image.clean), ssim(restored, image.clean)))
    return found


def scores_of(config: ExperimentConfig, model: str, weights: Path) -> list[Score]:
    """Scores of the restorer that a folder of weights holds."""
    device = pick_device()
    restorer = load_restorer(model, weights, device)
    return scores(config, lambda image: restorer.net(image.to(device)).cpu())


def write_scores(path: Path, rows: list[Score]) -> None:
    """Store scores; the file is whole or not there."""
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Score)])
        writer.writerows(astuple(row) for row in rows)
    os.replace(temporary, path)


def read_scores(path: Path) -> list[Score]:
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return [Score(a, b, c, d, float(p), float(s)) for a, b, c, d, p, s in rows]
