"""Measure GenDeg weights on held-out photos: is what was asked for what was obtained, and does it look real?

    python -m train.evaluate_gendeg --photos PHOTOS --captions captions.csv --output report [--real REAL]

Per degradation: mean absolute error and correlation of asked against obtained mu and sigma, PSNR against the
clean photo at very small mu, seconds per image, and, with `--real` (a folder per degradation of really
degraded photos), a Frechet distance in the space of natural scene statistics. Writes report.json, report.md
and a contact sheet of every degradation.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from gendeg_core.metrics.scene_statistics import frechet_distance, scene_statistics
from gendeg_core.seeds import sample_seed
from gendeg_core.statistics import draw_intensity
from gendeg_core.synthesize import Engine, Sampling, degrade, load_engine
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult
from train.common.photos import SUFFIXES, PhotoRecord, list_photos

SMALL_MU, SMALL_SIGMA = 0.004, 0.006


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure.

    Args:
        photos, captions: the folder and CSV given to training; only its held-out photos are used.
        output: folder of the report.
        weights: pipeline folder; default the shipped weights.
        engine: gendeg, or simulator for the yardstick.
        real: folder with one folder of really degraded photos per degradation.
        count: held-out photos; requests: per photo and degradation, drawn from the published histograms.
        size: short side the photos are reduced to.
        border: pixels cut off every photo's edge.
        only: measure these degradations; each one's numbers are the same without the others.
    """

    photos: Path
    output: Path
    captions: Path | None = None
    weights: Path | None = None
    engine: str = "gendeg"
    real: Path | None = None
    count: int = 24
    requests: int = 5
    size: int = 256
    border: int = 10
    steps: int | None = None
    seed: int = 0
    only: Annotated[tuple[Degradation, ...], tyro.conf.EnumChoicesFromValues] = tuple(Degradation)


def read_photo(path: Path, size: int, border: int = 0) -> Tensor:
    """(3, H, W) in [0, 1], the short side reduced to `size`."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image = image.crop((border, border, image.width - border, image.height - border))
    scale = min(size / min(image.size), 1.0)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def held_out(config: EvaluationConfig) -> list[PhotoRecord]:
    """`count` held-out photos, spread evenly over the sorted list."""
    records = list_photos(config.photos, config.captions, held=True)
    if len(records) < config.count:
        raise ValueError(f"only {len(records)} held-out photos, asked for {config.count}; lower --count")
    return [records[k] for k in np.linspace(0, len(records) - 1, config.count).astype(int)]


def measure_degradation(
    engine: Engine, degradation: Degradation, photos: list[tuple[Tensor, str]], config: EvaluationConfig
) -> tuple[dict[str, float], list[list[DegradationResult]]]:
    """Numbers of one degradation, and its results: one row per photo, mu rising."""
    rows, seconds = [], []
    for number, (photo, caption) in enumerate(photos):
        rng = np.random.default_rng(sample_seed(config.seed, f"{degradation} {number}"))
        row = []
        for _ in range(config.requests):
            drawn = draw_intensity(degradation, rng)
            request = DegradationRequest(
                degradation, drawn.mu, drawn.sigma, int(rng.integers(2**62)), caption
            )
            start = time.perf_counter()
            row.append(degrade(photo, request, engine, Sampling(steps=config.steps)))
            seconds.append(time.perf_counter() - start)
        rows.append(sorted(row, key=lambda result: result.request.mu))
    asked = np.array([(r.request.mu, r.request.sigma) for row in rows for r in row])
    got = np.array([(r.mu_obtained, r.sigma_obtained) for row in rows for r in row])
    error = np.abs(asked - got).mean(0)
    background = []
    for number, (photo, caption) in enumerate(photos):
        request = DegradationRequest(degradation, SMALL_MU, SMALL_SIGMA, number, caption)
        faint = degrade(photo, request, engine, Sampling(steps=config.steps)).degraded
        background.append(-10 * float((faint - photo).square().mean().log10()))
    return {
        "mu_error": float(error[0]),
        "mu_correlation": float(np.corrcoef(asked[:, 0], got[:, 0])[0, 1]),
        "sigma_error": float(error[1]),
        "sigma_correlation": float(np.corrcoef(asked[:, 1], got[:, 1])[0, 1]),
        "psnr_at_small_mu": float(np.mean(background)),
        "seconds": float(np.median(seconds)),
    }, rows


def distances(
    rows: list[list[DegradationResult]], photos: list[tuple[Tensor, str]], real: Path, size: int
) -> dict[str, float]:
    """Frechet distances to the photos below `real`: of the painted and, for scale, of the clean photos."""
    paths = sorted(p for p in real.glob("*") if p.suffix.lower() in SUFFIXES)
    reference = np.stack([scene_statistics(read_photo(path, size)) for path in paths])
    painted = np.stack([scene_statistics(r.degraded) for row in rows for r in row])
    clean = np.stack([scene_statistics(photo) for photo, _ in photos])
    return {
        "distance_to_real": frechet_distance(painted, reference),
        "distance_of_clean": frechet_distance(clean, reference),
        "real_photos": len(paths),
    }


def contact_sheet(rows: list[list[DegradationResult]], photos: list[tuple[Tensor, str]]) -> Image.Image:
    """Six photos, each clean first and then with rising mu."""
    side = 160
    lines = []
    for (photo, _), row in list(zip(photos, rows, strict=True))[:6]:
        tiles = [photo, *(result.degraded for result in row)]
        arrays = [(tile.permute(1, 2, 0) * 255).round().byte().numpy() for tile in tiles]
        squares = [Image.fromarray(a).resize((side, side), Image.Resampling.LANCZOS) for a in arrays]
        lines.append(np.concatenate([np.asarray(square) for square in squares], 1))
    return Image.fromarray(np.concatenate(lines))


def table(report: dict[str, dict[str, float]]) -> str:
    """The report as Markdown."""
    columns = list(next(iter(report.values())))
    lines = ["| degradation | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, numbers in report.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{numbers.get(c, float('nan')):.4g}" for c in columns) + " |"
        )
    return "\n".join(lines)


def main(config: EvaluationConfig) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    engine = load_engine(config.engine, config.weights)
    photos = [(read_photo(r.path, config.size, config.border), r.caption) for r in held_out(config)]
    degrade(photos[0][0], DegradationRequest(Degradation.HAZE, 0.1, 0.1), engine)  # warm-up, not timed
    report = {}
    for degradation in config.only:
        numbers, rows = measure_degradation(engine, degradation, photos, config)
        if config.real is not None and (config.real / degradation).is_dir():
            numbers |= distances(rows, photos, config.real / degradation, config.size)
        report[degradation.value] = numbers
        contact_sheet(rows, photos).save(config.output / f"{degradation}.png")
        print(degradation.value, {name: round(value, 4) for name, value in numbers.items()}, flush=True)
    facts = {
        "weights": engine.weights,
        "config": dataclasses.asdict(config),
        "hardware": f"{platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}",
        "degradations": report,
    }
    (config.output / "report.json").write_text(json.dumps(facts, indent=2, default=str))
    (config.output / "report.md").write_text(table(report) + "\n")
    print(table(report))


if __name__ == "__main__":
    main(tyro.cli(EvaluationConfig, description=__doc__))
