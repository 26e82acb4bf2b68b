"""Audit of a data set: what was made of its plan, how near it came to what was asked, and is that enough?

Shards are read row group by row group and only counts are kept, so memory does not grow with the pictures.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gendeg_core.dataset.audit_checks import check_files, check_pictures, judge_numbers
from gendeg_core.dataset.audit_numbers import FACTS, AuditLimits, AuditNumbers, KindNumbers, Pick
from gendeg_core.dataset.filters import reason_word
from gendeg_core.dataset.plan import Plan, read_plan
from gendeg_core.dataset.schema import SHARD_COLUMNS
from gendeg_core.dataset.shards import shard_name, shards_done
from gendeg_core.statistics import MU_EDGES, SIGMA_EDGES, bin_index

_PICTURES = ("degraded", "target")
DEFAULT_LIMITS = AuditLimits()


def audit(
    output: str | Path, limits: AuditLimits = DEFAULT_LIMITS, *, seed: int = 0, shown: int = 8
) -> AuditNumbers:
    """The numbers of the data set in `output`, judged by `limits`.

    Args:
        seed: which rows are drawn to be opened and shown; no effect on any other number.
        shown: rows drawn per degradation, and per reason of the filter.

    Raises:
        ValueError: there is no data set (PlanError), or `shown` is below 1.
    """
    output = Path(output)
    if shown < 1:
        raise ValueError(f"shown={shown} shows nothing; ask for 1 or more")
    plan = read_plan(output / "plan.parquet")
    numbers = AuditNumbers(plan, {kind: KindNumbers() for kind in plan.settings.degradations})
    for kind, count in Counter(plan.table["degradation"].to_pylist()).items():
        numbers.kinds.setdefault(kind, KindNumbers()).planned = count
    markers = shards_done(output)
    numbers.shards = len(markers)
    numbers.failed = {photo: why for marker in markers.values() for photo, why in marker.failed.items()}
    paths = {k: output / "data" / f"{shard_name(k, plan.shard_count)}.parquet" for k in markers}
    readable = check_files(numbers, markers, paths)
    lots = _Lots(seed, shown, limits.pictures)
    item_ids = []
    for k in readable:
        try:
            item_ids.append(_read_shard(numbers, paths[k], lots))
        except (OSError, pa.ArrowException) as error:
            numbers.damaged.append(f"{paths[k].name} cannot be read: {str(error).strip().splitlines()[0]}")
    _count_items(numbers, plan, item_ids)
    numbers.examples, numbers.rejects = lots.drawn("accepted"), lots.drawn("refused")
    check_pictures(numbers, lots.drawn("all").get("", []))
    numbers.checks = judge_numbers(numbers, limits)
    return numbers


def write_audit(
    output: str | Path,
    page: str | Path,
    limits: AuditLimits = DEFAULT_LIMITS,
    *,
    seed: int = 0,
    shown: int = 8,
) -> AuditNumbers:
    """Audit the data set in `output` and write the report, one self-contained HTML file, to `page`.

    Raises:
        ValueError: see `audit`.
        ImageError: the page cannot be written.
    """
    from gendeg_core.dataset.audit_page import audit_page
    from gendeg_core.images.write import write_atomically

    numbers = audit(output, limits, seed=seed, shown=shown)
    write_atomically(Path(page), audit_page(numbers, Path(output), seed).encode())
    return numbers


def row_groups(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The row groups of one shard, one at a time."""
    with pq.ParquetFile(path) as shard:
        for group in range(shard.num_row_groups):
            yield shard.read_row_group(group, columns)


def _read_shard(numbers: AuditNumbers, path: Path, lots: _Lots) -> pa.ChunkedArray:
    """Count the rows of one shard in; returns their item ids."""
    plain = [name for name, _ in SHARD_COLUMNS if name not in _PICTURES]
    ids = []
    for group, table in enumerate(row_groups(path, plain)):
        ids.append(table["item_id"])
        rows = table.to_pylist()
        for place, row in enumerate(rows):
            _count_row(numbers, row)
            lots.enter(path, group, place, row)
        for kind in {row["degradation"] for row in rows}:
            _measure(numbers.kinds[kind], [row for row in rows if row["degradation"] == kind])
    return pa.chunked_array([chunk for column in ids for chunk in column.chunks], pa.string())


def _count_row(numbers: AuditNumbers, row: dict[str, Any]) -> None:
    kind = numbers.kinds.setdefault(row["degradation"], KindNumbers())
    kind.made += 1
    kind.accepted += row["accepted"]
    if not row["accepted"]:
        kind.reasons[reason_word(row["reason"])] += 1
    for name in FACTS:
        numbers.facts[name][str(row[name]) if row[name] not in (None, "") else "none"] += 1
    if not all(_is_number(row[name]) for name in ("mu_obtained", "sigma_obtained")):
        numbers.damaged.append(f"{row['item_id']} has no measured mu and sigma")


def _measure(kind: KindNumbers, rows: list[dict[str, Any]]) -> None:
    """Count rows of one degradation into its calibration and histogram."""
    rows = [row for row in rows if _is_number(row["mu_obtained"]) and _is_number(row["sigma_obtained"])]
    columns = ("mu", "sigma", "mu_obtained", "sigma_obtained")
    mu, sigma, mu_obtained, sigma_obtained = (np.array([row[name] for row in rows]) for name in columns)
    kind.mu.add(mu, mu_obtained)
    kind.sigma.add(sigma, sigma_obtained)
    kept = np.array([row["accepted"] for row in rows], bool)
    bins = bin_index(mu_obtained[kept], MU_EDGES), bin_index(sigma_obtained[kept], SIGMA_EDGES)
    np.add.at(kind.joint, bins, 1)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value >= 0


def _count_items(numbers: AuditNumbers, plan: Plan, item_ids: list[pa.ChunkedArray]) -> None:
    """Compare the rows with the plan; items of photos that could not be done are not missed."""
    made = pa.chunked_array([chunk for ids in item_ids for chunk in ids.chunks], pa.string())
    distinct = made.unique()
    planned = plan.table["item_id"]
    found = _is_in(planned, distinct)
    given_up = _is_in(plan.table["photo"], pa.array(list(numbers.failed), pa.string()))
    numbers.doubled = len(made) - len(distinct)
    numbers.missing = int((~found & ~given_up).sum())
    numbers.unknown = len(distinct) - int(found.sum())


def _is_in(values: pa.ChunkedArray, members: pa.Array) -> np.ndarray:
    """(N,) whether each value is one of `members`."""
    return pc.call_function("is_in", [values], pc.SetLookupOptions(members)).to_numpy()


class _Lots:
    """Draws rows by hashing (seed, item id): the smallest win, in whatever order rows come."""

    def __init__(self, seed: int, shown: int, opened: int) -> None:
        self.seed, self.limit = seed, {"accepted": shown, "refused": shown, "all": opened}
        # Heaps with the largest lot on top: (what for, group) to (-lot, pick).
        self.heaps: dict[tuple[str, str], list[tuple[int, Pick]]] = {}

    def enter(self, path: Path, group: int, place: int, row: dict[str, Any]) -> None:
        digest = hashlib.blake2b(f"{self.seed}/{row['item_id']}".encode(), digest_size=8).digest()
        pick = Pick(int.from_bytes(digest, "big"), path, group, place, row)
        self._offer("all", "", pick)
        if row["accepted"]:
            self._offer("accepted", row["degradation"], pick)
        else:
            self._offer("refused", reason_word(row["reason"]), pick)

    def _offer(self, purpose: str, name: str, pick: Pick) -> None:
        heap = self.heaps.setdefault((purpose, name), [])
        heapq.heappush(heap, (-pick.lot, pick))
        if len(heap) > self.limit[purpose]:
            heapq.heappop(heap)

    def drawn(self, purpose: str) -> dict[str, list[Pick]]:
        """By degradation or reason, in the order of the lots."""
        return {
            name: sorted(pick for _, pick in heap)
            for (kind, name), heap in self.heaps.items()
            if kind == purpose
        }
