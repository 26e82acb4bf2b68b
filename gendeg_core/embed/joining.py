"""Several tables of embeddings as one, and the table of a finished map."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

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
        table: unknown numbers are nan, seeds -1, names empty; a table without sets is one set.
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
        """The clean photo behind each row: versions of one photo share its name.

        Where a table does not tell it, the row's own name stands for it, as far as that goes.
        """
        cleans = self.table.clean or [""] * len(self.table)
        named = [clean or path.partition("|")[0] for clean, path in zip(cleans, self.table.path, strict=True)]
        return [PurePath(name).stem for name in named]


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
    known: dict[str, Any] = {
        **{name: np.concatenate([_numbers(table, name) for table in parts]) for name in _KNOWN_NUMBERS},
        **{name: [text for table in parts for text in _texts(table, name)] for name in _KNOWN_NAMES},
    }
    joined = EmbeddingTable(
        path=[path for table in parts for path in table.path],
        content=np.concatenate([table.content for table in parts]),
        degradation=np.concatenate([table.degradation for table in parts]),
        predicted=[said for table in parts for said in table.predicted],
        score=np.concatenate([table.score for table in parts]),
        set=[named or name for table, name in filled for named in table.set or [""] * len(table)],
        seed=np.concatenate([np.full(len(t), -1) if t.seed is None else t.seed for t in parts]),
        **known,
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
_KNOWN_NAMES = ("dataset", "label", "engine", "caption", "clean", "restored")
_KNOWN_NUMBERS = ("mu", "sigma", "mu_asked", "sigma_asked")


def _texts(table: EmbeddingTable, name: str) -> Sequence[str]:
    return getattr(table, name) or [""] * len(table)


def _numbers(table: EmbeddingTable, name: str) -> NDArray[np.float64]:
    values = getattr(table, name)
    return np.full(len(table), np.nan) if values is None else np.asarray(values, dtype=np.float64)
