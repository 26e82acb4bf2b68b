"""Small stored data sets, drawn in code: shards as the factory writes them, GenDS tables, lq/gt folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gendeg_core.dataset.schema import shard_schema
from gendeg_core.types import Degradation

KINDS = list(Degradation)


def pixels(number: int, height: int = 20, width: int = 24) -> np.ndarray:
    """(H, W, 3) bytes that tell `number` by their first pixel."""
    image = np.random.default_rng(number).integers(0, 200, (height, width, 3), np.uint8)
    image[0, 0] = number % 200
    return image


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, lossless=True)
    return file.getvalue()


def shard_row(number: int, accepted: bool = True, kind: str = "PNG") -> dict[str, Any]:
    clean = pixels(number)
    return {
        "degraded": {"bytes": encoded(clean // 2, kind), "path": f"{number}-degraded"},
        "target": {"bytes": encoded(clean, kind), "path": f"{number}-target"},
        "item_id": f"photo {number}.png|{KINDS[number % 6]}|0",
        "photo": f"photo {number}.png",
        "caption": f"scene {number}",
        "degradation": KINDS[number % 6].value,
        "mu": 0.1,
        "sigma": 0.05,
        "sampled_dataset": "RESIDE",
        "random_sampling": False,
        "engine": "simulator",
        "seed": number,
        "photo_hash": "00",
        "prompt": f"scene {number}, {KINDS[number % 6].phrase}",
        "mu_obtained": number / 1000,
        "sigma_obtained": number / 2000,
        "weights": "simulator:none",
        "code_version": "0",
        "scheduler": "",
        "steps": None,
        "accepted": accepted,
        "reason": "" if accepted else "too weak",
        "alignment": 1.0,
        "clipped": 0.0,
    }


def write_shards(
    folder: Path, counts: tuple[int, ...] = (5, 7), group: int = 3, rejected: tuple[int, ...] = (), **how: Any
) -> Path:
    """Shards with rows 0, 1, 2 ... over all of them, `group` rows per row group."""
    (folder / "data").mkdir(parents=True)
    first = 0
    for k, count in enumerate(counts):
        rows = [shard_row(n, n not in rejected, **how) for n in range(first, first + count)]
        table = pa.Table.from_pylist(rows, shard_schema())
        name = f"train-{k:05d}-of-{len(counts):05d}.parquet"
        pq.write_table(table, folder / "data" / name, row_group_size=group)
        first += count
    return folder


def write_pair(folder: Path, degraded: str, clean: str, number: int) -> None:
    """Files lq/`degraded` and gt/`clean`; the degraded image is half as bright."""
    for side, name, divisor in (("lq", degraded, 2), ("gt", clean, 1)):
        (folder / side / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number) // divisor).save(folder / side / name)
