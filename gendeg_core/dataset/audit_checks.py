"""The criteria an audit passes or fails, with what each of them found."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendeg_core.dataset.audit_numbers import AuditLimits, AuditNumbers, Check, KindNumbers, Pick
from gendeg_core.dataset.filters import changed_share, clipped_share, edge_alignment
from gendeg_core.dataset.shards import Marker

SAME = 1e-3  # by which a stored measure may differ from one taken again: other machines round elsewhere
_NAMED = 3  # faults that are named before the rest is only counted


def check_files(numbers: AuditNumbers, markers: dict[int, Marker], paths: dict[int, Path]) -> list[int]:
    """Shards that can be read, in order; digests that differ and files that do not open go to `damaged`."""
    readable = []
    for k in sorted(markers):
        path = paths[k]
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            if digest != markers[k].digest:
                numbers.damaged.append(f"{path.name} is not the file its marker describes")
            with pq.ParquetFile(path) as shard:
                assert shard.metadata is not None
            readable.append(k)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0]
            numbers.damaged.append(f"{path.name} cannot be read: {reason}")
    return readable


def check_pictures(numbers: AuditNumbers, picks: list[Pick]) -> None:
    """Open the pictures of `picks`; what does not open, or not fit its row, goes to `damaged`."""
    for values, target, degraded in open_pictures(picks, numbers.damaged):
        numbers.opened += 2
        if fault := _fault(values, target, degraded):
            numbers.damaged.append(f"{values['item_id']} {fault}")


def open_pictures(
    picks: list[Pick], faults: list[str] | None = None
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Row, target and degraded image, (H, W, 3) bytes, of each pick; one row group in memory at a time.

    Pictures that do not open are left out and named in `faults`.
    """
    faults = [] if faults is None else faults
    ordered = sorted(picks, key=lambda p: (p.path, p.group, p.row))
    for (path, group), members in groupby(ordered, key=lambda p: (p.path, p.group)):
        try:
            with pq.ParquetFile(path) as shard:
                table = shard.read_row_group(group, ["degraded", "target"])
        except (OSError, pa.ArrowException) as error:
            faults.append(f"{path.name} cannot be read: {str(error).strip().splitlines()[0]}")
            continue
        for pick in members:
            try:
                pair = [_decoded(table[name][pick.row].as_py()) for name in ("target", "degraded")]
            except (OSError, SyntaxError, ValueError) as error:  # whatever Pillow says of a broken file
                faults.append(f"{pick.values['item_id']} has a picture that cannot be opened: {error}")
                continue
            yield pick.values, pair[0], pair[1]


def _decoded(picture: dict[str, Any] | None) -> np.ndarray:
    """(H, W, 3) bytes of a stored picture."""
    from PIL import Image

    with Image.open(io.BytesIO((picture or {}).get("bytes") or b"")) as image:
        return np.asarray(image.convert("RGB"))


def _fault(values: dict[str, Any], target: np.ndarray, degraded: np.ndarray) -> str:
    """What the pictures say against their row; empty for nothing."""
    import torch

    if target.shape != degraded.shape:
        return f"has pictures of different size, {target.shape[:2]} and {degraded.shape[:2]}"
    pair = [torch.from_numpy(p.copy()).permute(2, 0, 1).float() / 255 for p in (target, degraded)]
    if abs(edge_alignment(*pair) - values["alignment"]) > SAME:
        return f"has pictures whose edges do not agree by the stored {values['alignment']:.4f}"
    if abs(clipped_share(*pair) - values["clipped"]) > SAME:
        return f"has pictures with other clipped values than the stored {values['clipped']:.4f}"
    if values["accepted"] and not changed_share(*pair):
        return "is accepted but a copy of its target"
    return ""


def judge_numbers(numbers: AuditNumbers, limits: AuditLimits) -> list[Check]:
    """All criteria, each with its finding."""
    return [
        _complete(numbers),
        _photos(numbers, limits),
        _whole(numbers),
        _error(numbers, "mu", limits.mu_error, limits.few),
        _error(numbers, "sigma", limits.sigma_error, limits.few),
        _rejected(numbers, limits),
    ]


def _complete(numbers: AuditNumbers) -> Check:
    wrong = numbers.missing + numbers.doubled + numbers.unknown
    finding = (
        f"{numbers.made:,} rows for {len(numbers.plan):,} planned items, {numbers.shards:,} of "
        f"{numbers.plan.shard_count:,} shards: {numbers.missing:,} items missing, {numbers.doubled:,} "
        f"doubled, {numbers.unknown:,} not in the plan"
    )
    return Check("Every planned item is there once", not wrong and numbers.made > 0, finding)


def _photos(numbers: AuditNumbers, limits: AuditLimits) -> Check:
    photos = numbers.plan.photo_count
    share = len(numbers.failed) / max(photos, 1)
    finding = f"{len(numbers.failed):,} of {photos:,} photos could not be done; {limits.failed:.0%} may fail"
    if numbers.failed:
        finding += ": " + _some(list(numbers.failed.values()))
    return Check("The photos could be used", share <= limits.failed, finding)


def _whole(numbers: AuditNumbers) -> Check:
    finding = (
        f"{numbers.shards:,} files compared with their markers, {numbers.opened:,} pictures opened and "
        f"measured again: " + (_some(numbers.damaged) if numbers.damaged else "all whole")
    )
    return Check("Files and pictures are whole", not numbers.damaged, finding)


def _error(numbers: AuditNumbers, quantity: str, limit: float, few: int) -> Check:
    errors = {
        name: kind.mu.mean_error if quantity == "mu" else kind.sigma.mean_error
        for name, kind in numbers.kinds.items()
        if kind.made >= few
    }
    above = {name: error for name, error in errors.items() if not error <= limit}
    name = f"{quantity} obtained is near {quantity} asked"
    if not errors:
        return Check(name, True, f"not judged: no degradation has {few} rows")
    worst = max(errors, key=lambda key: math.inf if math.isnan(errors[key]) else errors[key])
    finding = f"mean error up to {errors[worst]:.4f} ({_label(worst)}); {limit:g} is allowed per degradation"
    if above:
        finding += ", too much for " + ", ".join(
            f"{_label(key)} ({error:.4f})" for key, error in above.items()
        )
    return Check(name, not above, finding)


def _rejected(numbers: AuditNumbers, limits: AuditLimits) -> Check:
    shares = {name: _share(kind, limits) for name, kind in numbers.kinds.items()}
    above = {name: share for name, share in shares.items() if share > limits.rejected}
    refused = numbers.made - numbers.accepted
    finding = (
        f"{refused:,} of {numbers.made:,} rows refused; {limits.rejected:.0%} is allowed per degradation"
    )
    if above:
        finding += ", exceeded by " + ", ".join(f"{_label(key)} ({s:.0%})" for key, s in above.items())
    return Check("The filter refused few", not above, finding)


def _share(kind: KindNumbers, limits: AuditLimits) -> float:
    return kind.rejected_share if kind.made >= limits.few else 0.0


def _label(name: str) -> str:
    return name.replace("_", " ")


def _some(faults: list[str]) -> str:
    rest = len(faults) - _NAMED
    return "; ".join(faults[:_NAMED]) + (f"; and {rest:,} more" if rest > 0 else "")
