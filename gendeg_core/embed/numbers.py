"""All numbers about joined tables of embeddings: overlap of their sets, and what linear probes read out."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gendeg_core.embed.joining import JoinedTable
from gendeg_core.embed.overlap import FEWEST, Overlap, overlaps
from gendeg_core.embed.probes import ClassProbe, ValueProbe, probe_classes, probe_value
from gendeg_core.embed.reduction import as_rows


@dataclass(frozen=True)
class Numbers:
    """What embeddings say about their sets.

    Args:
        overlaps: of every two sets that are large enough.
        kinds: how well the true degradation is read out; None where too few are known.
        mu: how well the obtained mu is read out; None where too few are known.
        remarks: what was not measured and why, one sentence each.
    """

    overlaps: dict[tuple[str, str], Overlap]
    kinds: ClassProbe | None
    mu: ValueProbe | None
    remarks: tuple[str, ...]


def numbers_of(joined: JoinedTable, embeddings: ArrayLike, *, seed: int = 0) -> Numbers:
    """Measure one column of embeddings, (N, D), of some joined tables."""
    rows = as_rows(embeddings)
    remarks = [
        f"overlap of {name!r} is not measured: {count} photos are fewer than {FEWEST}"
        for name, count in Counter(joined.sets).items()
        if count < FEWEST
    ]
    kinds = _kinds(joined, rows, seed, remarks)
    mu = _mu(joined, rows, seed, remarks)
    return Numbers(overlaps(rows, joined.sets, seed=seed), kinds, mu, tuple(remarks))


def record_of(joined: JoinedTable, numbers: Numbers) -> dict[str, Any]:
    """The numbers as plain values, ready for JSON."""
    return {
        "photos": len(joined.table),
        "weights": joined.table.weights,
        "overlaps": [
            {"first": first, "second": second, **asdict(measured)}
            for (first, second), measured in numbers.overlaps.items()
        ],
        "degradation_probe": asdict(numbers.kinds) if numbers.kinds else None,
        "mu_probe": asdict(numbers.mu) if numbers.mu else None,
        "remarks": list(numbers.remarks),
    }


def _kinds(
    joined: JoinedTable, rows: NDArray[np.float64], seed: int, remarks: list[str]
) -> ClassProbe | None:
    known = [at for at, label in enumerate(joined.table.label or []) if label]
    labels, photos = joined.kinds, joined.photos
    if not known:
        return None
    try:
        return probe_classes(
            rows[known], [labels[at] for at in known], groups=[photos[at] for at in known], seed=seed
        )
    except ValueError as error:
        remarks.append(f"degradations are not read out: {error}")
        return None


def _mu(joined: JoinedTable, rows: NDArray[np.float64], seed: int, remarks: list[str]) -> ValueProbe | None:
    mu, kinds, photos = np.asarray(joined.table.mu), joined.kinds, joined.photos
    known = np.flatnonzero(np.isfinite(mu)).tolist()
    if not known:
        return None
    names, groups = [kinds[at] for at in known], [photos[at] for at in known]
    try:
        return probe_value(rows[known], mu[known], names=names, groups=groups, seed=seed)
    except ValueError as error:
        remarks.append(f"mu is not read out: {error}")
        return None
