"""Embeddings of many images as a Parquet table: one row per image."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

REQUIRED = ("path", "content", "degradation", "predicted", "score")
METADATA = b"gendeg_embeddings"


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Columns of equal length N.

    Args:
        path: file of the image, or the item id of a stored pair.
        content, degradation: (N, D) float32, not normalised.
        predicted: most likely degradation; score: its probability, (N,) float32.
        mu, sigma: obtained mean and spread of the degradation map; nan where unknown.
        set: which set the image belongs to, such as "existing" or "GenDS".
        dataset: data set it comes from.
        label: the true degradation; empty where unknown.
        mu_asked, sigma_asked, seed, engine: how it was made; nan, -1 or empty where unknown.
        caption: what the clean photo shows.
        clean: the clean photo behind it, which versions of one photo share; empty where unknown.
        restored: name of a restored version.
        weights: identity of the weights that made the embeddings.
        source: folder or file that `path` refers to.
    """

    path: Sequence[str]
    content: NDArray[np.float32]
    degradation: NDArray[np.float32]
    predicted: Sequence[str]
    score: NDArray[np.float32]
    mu: NDArray[np.float64] | None = None
    sigma: NDArray[np.float64] | None = None
    set: Sequence[str] | None = None
    dataset: Sequence[str] | None = None
    label: Sequence[str] | None = None
    mu_asked: NDArray[np.float64] | None = None
    sigma_asked: NDArray[np.float64] | None = None
    seed: NDArray[np.int64] | None = None
    engine: Sequence[str] | None = None
    caption: Sequence[str] | None = None
    clean: Sequence[str] | None = None
    restored: Sequence[str] | None = None
    weights: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for column in self.columns():
            rows = len(getattr(self, column))
            if rows != len(self):
                raise ValueError(f"column {column} has {rows} rows, path has {len(self)}; give one each")

    def __len__(self) -> int:
        return len(self.path)

    def columns(self) -> list[str]:
        """Names of the columns that are there."""
        names = [f.name for f in fields(self) if f.name not in ("weights", "source")]
        return [name for name in names if getattr(self, name) is not None]


def write_table(table: EmbeddingTable, path: Path) -> None:
    """Write `path`, under another name first, so that it is whole or not there."""
    columns = {name: _arrow(getattr(table, name)) for name in table.columns()}
    facts = json.dumps({"weights": table.weights, "source": table.source})
    written = pa.table(columns).replace_schema_metadata({METADATA: facts.encode()})
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(written, partial, compression="zstd")
    os.replace(partial, path)


def read_table(path: Path) -> EmbeddingTable:
    """The table in a Parquet file.

    Raises:
        OSError: there is no such file.
        ValueError: it is no table of embeddings.
    """
    try:
        stored = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file ({error}); make one with the command embed") from error
    missing = [name for name in REQUIRED if name not in stored.column_names]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}; make the table with the command embed")
    facts = json.loads((stored.schema.metadata or {}).get(METADATA, b"{}"))
    known = [f.name for f in fields(EmbeddingTable) if f.name in stored.column_names]
    return EmbeddingTable(
        **{name: _column(stored[name]) for name in known},  # pyright: ignore[reportArgumentType]
        weights=facts.get("weights", ""),
        source=facts.get("source", ""),
    )


def _arrow(values: Sequence[str] | NDArray[np.number]) -> pa.Array:
    if not isinstance(values, np.ndarray):
        return pa.array(values, pa.string())
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _column(stored: pa.ChunkedArray) -> list[str] | NDArray[np.number]:
    column = stored.combine_chunks()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.fill_null("").to_pylist()
    if pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        return column.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.stack(column.to_numpy(zero_copy_only=False)) if len(column) else np.empty((0, 0), np.float32)
