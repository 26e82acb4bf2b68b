"""One photo of a plan to its rows: read once, degraded all at once, judged, encoded.

Everything here is a function of the plan's rows, the photo's file and the engines; times are kept apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gendeg_core.dataset.clock import Clock
from gendeg_core.dataset.code_version import code_version
from gendeg_core.dataset.engines import PhotoEngine
from gendeg_core.dataset.plan import Plan
from gendeg_core.images import read_photo
from gendeg_core.statistics import to_uint8
from gendeg_core.types import DegradationRequest, DegradationResult

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from gendeg_core.dataset.filters import MuLimits, Verdict

PNG_LEVEL = 1  # a third of the time of the usual level for a few per cent more bytes


class Judge(Protocol):
    """The filter: see filters.judge."""

    def __call__(
        self,
        target: Tensor,
        degraded: Tensor,
        degradation: Any,
        mu_obtained: float,
        mu_limits: MuLimits | None = None,
    ) -> Verdict: ...


def default_judge() -> Judge:
    from gendeg_core.dataset.filters import judge

    return judge


@dataclass
class Maker:
    """What makes items: loaded engines by name, the filter, the version of the code."""

    engines: dict[str, PhotoEngine]
    judge: Judge = field(default_factory=default_judge)
    version: str = field(default_factory=code_version)

    def identity(self) -> dict[str, Any]:
        """Everything besides plan and photos that the rows follow from."""
        facts: dict[str, Any] = {"code version": self.version}
        for name, engine in sorted(self.engines.items()):
            facts |= {
                f"weights of {name}": engine.weights,
                f"scheduler of {name}": engine.scheduler,
                f"steps of {name}": engine.steps,
            }
        return facts

    def clock(self) -> Clock:
        """A clock for any of the engines."""
        return next((engine.clock() for engine in self.engines.values() if engine.steps), Clock())


@dataclass(frozen=True)
class CleanPhoto:
    """A clean photo at the size it is degraded at: (3, H, W) in whole 255ths, and the hash of its file."""

    pixels: Tensor
    file_hash: str


def make_rows(plan: Plan, rows: list[dict[str, Any]], maker: Maker) -> list[dict[str, Any]]:
    """The shard rows (schema.SHARD_COLUMNS) of all items of one photo.

    Raises:
        ImageError: the photo cannot be read.
        ValueError: an engine made a picture that is no picture (NaN).
    """
    clock = maker.clock()
    clean = read_clean(plan, rows[0]["photo"], clock)
    return finish_rows(rows, clean, degrade_rows(rows, clean, maker, clock), maker, clock)


def read_clean(plan: Plan, photo: str, clock: Clock) -> CleanPhoto:
    """The photo, reduced as the plan says and rounded to what a stored picture can hold.

    Raises:
        ImageError: it cannot be read.
    """
    from gendeg_core.generate.full_size import resize

    with clock.stage("read"):
        path = Path(plan.settings.photos) / photo
        pixels = read_photo(path).pixels
        height, width = pixels.shape[-2:]
        short = plan.settings.size
        if short and min(height, width) > short:
            scale = short / min(height, width)
            pixels = resize(pixels, (max(round(height * scale), 1), max(round(width * scale), 1)))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return CleanPhoto((pixels * 255).round() / 255, digest)


def degrade_rows(
    rows: list[dict[str, Any]], clean: CleanPhoto, maker: Maker, clock: Clock
) -> list[DegradationResult]:
    """The results of all rows of one photo, each engine called once."""
    results: dict[int, DegradationResult] = {}
    for name in dict.fromkeys(row["engine"] for row in rows):
        places = [place for place, row in enumerate(rows) if row["engine"] == name]
        requests = [_request(rows[place]) for place in places]
        made = maker.engines[name].make(clean.pixels, requests, clock)
        results.update(zip(places, made, strict=True))
    return [results[place] for place in range(len(rows))]


def _request(row: dict[str, Any]) -> DegradationRequest:
    return DegradationRequest(
        row["degradation"], row["mu"], row["sigma"], row["seed"], row["caption"], row["sampled_dataset"]
    )


def finish_rows(
    rows: list[dict[str, Any]],
    clean: CleanPhoto,
    results: list[DegradationResult],
    maker: Maker,
    clock: Clock,
) -> list[dict[str, Any]]:
    """Judge and encode what was made; targets that are the same picture are encoded once."""
    encoded: dict[bytes, bytes] = {}

    def once(pixels: np.ndarray) -> bytes:
        key = hashlib.blake2b(pixels.tobytes()).digest()
        if key not in encoded:
            encoded[key] = encode_png(pixels)
        return encoded[key]

    return [_row(row, clean, result, maker, clock, once) for row, result in zip(rows, results, strict=True)]


def _row(
    row: dict[str, Any],
    clean: CleanPhoto,
    result: DegradationResult,
    maker: Maker,
    clock: Clock,
    encode_target: Callable[[np.ndarray], bytes],
) -> dict[str, Any]:
    engine = maker.engines[row["engine"]]
    with clock.stage("encode"):
        target, degraded = to_uint8(result.target), to_uint8(result.degraded)
        target_png, degraded_png = encode_target(target), encode_png(degraded)
    with clock.stage("check"):  # what is stored is what is judged
        stored = (_to_tensor(target), _to_tensor(degraded))
        verdict = maker.judge(*stored, result.request.degradation, result.mu_obtained)
    name = f"{Path(row['photo']).stem}-{row['degradation']}-{row['item_id'].rpartition('|')[2]}"
    return {
        "degraded": {"bytes": degraded_png, "path": f"{name}.png"},
        "target": {"bytes": target_png, "path": f"{name}-target.png"},
        **row,
        "photo_hash": clean.file_hash,
        "prompt": result.request.prompt,
        "mu_obtained": result.mu_obtained,
        "sigma_obtained": result.sigma_obtained,
        "weights": result.weights,
        "code_version": maker.version,
        "scheduler": engine.scheduler,
        "steps": engine.steps,
        "accepted": verdict.accepted,
        "reason": verdict.reason,
        "alignment": verdict.alignment,
        "clipped": verdict.clipped,
    }


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of (H, W, 3) bytes, losslessly."""
    import cv2

    done, buffer = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    assert done, "eight-bit RGB always fits into a PNG"
    return buffer.tobytes()


def _to_tensor(pixels: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
