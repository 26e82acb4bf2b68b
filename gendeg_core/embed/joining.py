"""Several tables of embeddings as one, and the table of a finished map."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gendeg_core.embed.projection import MapSettings, Points
from gendeg_core.embed.table import EmbeddingTable

MAP_METADATA = b"gendeg_map"


@dataclass(frozen=True, eq=False)
class JoinedTable:
    """The rows of some tables one below the other; all optional columns are there.

    Args:
        table: unknown numbers are nan, unknown names empty; a table without sets is one set.
        sources: per row, the folder or file that its path refers to.
    """

    table: EmbeddingTable
    sources: list[str]

    @property
    def sets(self) -> Sequence[str]:
        return self.table.set or []

    @property
    def kinds(self) -> list[str]:
        """The degradation of each row: the true one where known, else the predicted one."""
        labels = self.table.label or [""] * len(self.table)
        return [label or said for label, said in zip(labels, self.table.predicted, strict=True)]

    @property
    def photos(self) -> list[str]:
        """The clean photo behind each row, as far as names tell: versions of one photo share its name."""
        return [PurePath(path.partition("|")[0]).stem for path in self.table.path]


def join_tables(tables: Sequence[EmbeddingTable], names: Sequence[str]) -> JoinedTable:
    """Join tables made with the same weights.

    Args:
        names: one per table, the name of its set where it tells none.

    Raises:
        ValueError: no row at all, or tables of different weights.
    """
    filled = [(table, name) for table, name in zip(tables, names, strict=True) if len(table)]
    if not filled:
        raise ValueError("there is no embedding in what was given; embed some photos first")
    first, first_name = filled[0]
    for table, name in filled[1:]:
        if (table.weights, table.degradation.shape[1]) != (first.weights, first.degradation.shape[1]):
            raise ValueError(
                f"{first_name} was embedded with {first.weights or 'unnamed weights'}, {name} with "
                f"{table.weights or 'others'}; embed both with the same weights"
            )
    parts = [table for table, _ in filled]
    joined = EmbeddingTable(
        path=[path for table in parts for path in table.path],
        content=np.concatenate([table.content for table in parts]),
        degradation=np.concatenate([table.degradation for table in parts]),
        predicted=[said for table in parts for said in table.predicted],
        score=np.concatenate([table.score for table in parts]),
        mu=np.concatenate([_numbers(table.mu, len(table)) for table in parts]),
        sigma=np.concatenate([_numbers(table.sigma, len(table)) for table in parts]),
        set=[named or name for table, name in filled for named in table.set or [""] * len(table)],
        dataset=[text for table in parts for text in table.dataset or [""] * len(table)],
        label=[text for table in parts for text in table.label or [""] * len(table)],
        weights=first.weights,
        source="; ".join(dict.fromkeys(table.source for table in parts if table.source)),
    )
    return JoinedTable(joined, [table.source for table in parts for _ in table.path])


def write_map(path: Path, joined: JoinedTable, points: Points, *, column: str, settings: MapSettings) -> None:
    """Write the map as Parquet: x, y and what is known of every photo; how it was made in the metadata.

    The file is whole or not there.
    """
    table = joined.table
    columns = {
        "path": pa.array(table.path, pa.string()),
        "source": pa.array(joined.sources, pa.string()),
        "x": pa.array(points[:, 0]),
        "y": pa.array(points[:, 1]),
        **{name: pa.array(getattr(table, name), pa.string()) for name in _NAMES},
        **{name: pa.array(getattr(table, name)) for name in _NUMBERS},
    }
    made = {"column": column, "weights": table.weights, "settings": asdict(settings)}
    written = pa.table(columns).replace_schema_metadata({MAP_METADATA: json.dumps(made).encode()})
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(written, partial, compression="zstd")
    os.replace(partial, path)


_NAMES = ("predicted", "set", "dataset", "label")
_NUMBERS = ("score", "mu", "sigma")


def _numbers(values: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    return np.full(count, np.nan) if values is None else np.asarray(values, dtype=np.float64)
