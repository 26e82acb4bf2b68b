"""A finished data set written by hand: a plan, and rows of which every number is chosen by the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gendeg_core.dataset.filters import clipped_share, edge_alignment
from gendeg_core.dataset.plan import PlanSettings, write_plan
from gendeg_core.dataset.schema import PLAN_COLUMNS, plan_schema, shard_schema
from gendeg_core.dataset.shards import Marker, shard_name, write_json
from tests.dataset.stored import encoded, pixels


@dataclass(frozen=True)
class Sample:
    """One item; without `obtained` it is planned only."""

    photo: str
    degradation: str
    asked: tuple[float, float]
    obtained: tuple[float, float] | None = None
    reason: str = ""

    @property
    def item_id(self) -> str:
        return f"{self.photo}|{self.degradation}|0"

    def plan_row(self) -> dict[str, Any]:
        values = (self.item_id, self.photo, "a scene", self.degradation, *self.asked)
        values += ("RESIDE", False, "simulator", 7)
        return dict(zip((name for name, _ in PLAN_COLUMNS), values, strict=True))

    def shard_row(self) -> dict[str, Any]:
        assert self.obtained is not None
        target = pixels(sum(self.item_id.encode()))
        degraded = target // 2
        pair = [torch.from_numpy(p.copy()).permute(2, 0, 1).float() / 255 for p in (target, degraded)]
        return {
            "degraded": {"bytes": encoded(degraded), "path": "degraded.png"},
            "target": {"bytes": encoded(target), "path": "target.png"},
            **self.plan_row(),
            "photo_hash": "00",
            "prompt": "a scene",
            "mu_obtained": self.obtained[0],
            "sigma_obtained": self.obtained[1],
            "weights": "simulator:drawn",
            "code_version": "1 <2>",
            "scheduler": "",
            "steps": None,
            "accepted": not self.reason,
            "reason": self.reason,
            "alignment": edge_alignment(*pair),
            "clipped": clipped_share(*pair),
        }


def write_data_set(
    folder: Path,
    samples: Sequence[Sample],
    *,
    rows: Sequence[dict[str, Any]] | None = None,
    failed: dict[str, str] | None = None,
) -> Path:
    """A data set with the plan of `samples`, two photos per shard, one row group per photo.

    Args:
        rows: what the shards hold; None for the samples that were made. Rows of photos that are not planned
            go to the last shard.
        failed: photo to the reason why it could not be done.
    """
    rows = [s.shard_row() for s in samples if s.obtained] if rows is None else rows
    settings = PlanSettings("photos <here>", degradations=("haze", "rain"), photos_per_shard=2)
    plan = pa.Table.from_pylist([s.plan_row() for s in samples], plan_schema(asdict(settings)))
    write_plan(folder / "plan.parquet", plan)
    (folder / "data").mkdir()
    photos = list(dict.fromkeys(s.photo for s in samples))
    count = -(-len(photos) // 2)
    place = {photo: number // 2 for number, photo in enumerate(photos)}
    for k in range(count):
        here = [row for row in rows if place.get(row["photo"], count - 1) == k]
        name = shard_name(k, count)
        path = folder / "data" / f"{name}.parquet"
        with pq.ParquetWriter(path, shard_schema()) as writer:
            for photo in dict.fromkeys(row["photo"] for row in here):
                group = [row for row in here if row["photo"] == photo]
                writer.write_table(pa.Table.from_pylist(group, shard_schema()))
        made = Counter(row["degradation"] for row in here)
        refused = Counter(row["degradation"] for row in here if not row["accepted"])
        lost = {photo: why for photo, why in (failed or {}).items() if place[photo] == k}
        write_marker(folder, Marker(k, dict(made), dict(refused), lost, *sign(path)), count)
    return folder


def write_marker(folder: Path, marker: Marker, count: int) -> None:
    write_json(folder / "markers" / f"{shard_name(marker.shard, count)}.json", asdict(marker))


def sign(path: Path) -> tuple[int, str]:
    """Size and digest as a marker names them."""
    content = path.read_bytes()
    return len(content), blake2b(content, digest_size=16).hexdigest()


def good_samples(count: int = 10) -> list[Sample]:
    """Haze and rain of `count` photos, obtained nearly as asked."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        for degradation in ("haze", "rain"):
            mu, sigma = rng.uniform(0.05, 0.25), rng.uniform(0.03, 0.1)
            near = (float(mu + rng.normal() * 0.002), float(sigma + rng.normal() * 0.005))
            samples.append(Sample(f"{number:02d}.png", degradation, (float(mu), float(sigma)), near))
    return samples
