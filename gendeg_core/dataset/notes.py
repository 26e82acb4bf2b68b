"""What is known of an image that is embedded: for stored pairs what was asked for, and the clean photo."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendeg_core.dataset.pairs import PairEntry, PairsError, StoredPair

ASKED = ("mu", "sigma", "seed", "engine", "sampled_dataset", "dataset")  # columns of a plan, GenDS or our own


@dataclass(frozen=True)
class Note:
    """A row of `EmbeddingTable` without its embeddings; unknown is nan, -1 or empty as there."""

    path: str
    mu: float = math.nan
    sigma: float = math.nan
    label: str = ""
    dataset: str = ""
    mu_asked: float = math.nan
    sigma_asked: float = math.nan
    seed: int = -1
    engine: str = ""
    caption: str = ""
    clean: str = ""


def columns_of(notes: Sequence[Note]) -> dict[str, Any]:
    """The columns of an `EmbeddingTable` by name."""
    columns: dict[str, Any] = {f.name: [getattr(note, f.name) for note in notes] for f in fields(Note)}
    for name in ("mu", "sigma", "mu_asked", "sigma_asked"):
        columns[name] = np.array(columns[name], dtype=np.float64)
    columns["seed"] = np.array(columns["seed"], dtype=np.int64)
    return columns


def note_of(entry: PairEntry, pair: StoredPair, asked: Mapping[str, Note]) -> Note:
    """What is known of a stored pair; `asked` is what `asked_in` found."""
    return replace(
        asked.get(entry.name, Note(entry.name)),
        mu=pair["mu"],
        sigma=pair["sigma"],
        label=pair["degradation"] or "",
        caption=pair["caption"],
        clean=clean_photo(entry),
    )


def clean_photo(entry: PairEntry) -> str:
    """A name of the clean photo that all its versions share: its file, or a digest where it has no name."""
    if isinstance(entry.target, Path):
        return str(entry.target)
    photo, is_item, _ = entry.name.partition("|")
    return photo if is_item else hashlib.blake2b(entry.target, digest_size=16).hexdigest()


def asked_in(files: Sequence[Path], folder: Path) -> dict[str, Note]:
    """What was asked for when the pairs of some tables were made, by the names of the pairs.

    Args:
        files: Parquet or CSV, shards of our own or an index as GenDS has it.
        folder: paths in the tables start here.

    Raises:
        PairsError: mu, sigma or seed is no number.
    """
    found = {}
    for file in files:
        for name, row in _rows(file, folder):
            known = {column: value for column, value in row.items() if value not in (None, "")}
            try:
                found[name] = Note(
                    name,
                    dataset=known.get("sampled_dataset") or known.get("dataset", ""),
                    mu_asked=float(known.get("mu", math.nan)),
                    sigma_asked=float(known.get("sigma", math.nan)),
                    seed=int(known.get("seed", -1)),
                    engine=known.get("engine", ""),
                )
            except ValueError as error:
                raise PairsError(
                    f"{file}, pair {name}: mu, sigma or seed is wrong ({error}); mend it"
                ) from error
    return found


def _rows(file: Path, folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and small columns of every row; tables that name no pair tell nothing."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = (row for row in csv.DictReader(lines) if row["image_path"])
            yield from ((str(folder / row["image_path"]), row) for row in rows)
        return
    schema = pq.read_schema(file)
    present = [name for name in ASKED if name in schema.names]
    if "item_id" in schema.names:
        rows = pq.read_table(file, columns=["item_id", *present]).to_pylist()
        yield from ((row["item_id"], row) for row in rows)
    elif "image_path" in schema.names and pa.types.is_string(schema.field("image_path").type):
        rows = pq.read_table(file, columns=["image_path", *present]).to_pylist()
        yield from ((str(folder / row["image_path"]), row) for row in rows if row["image_path"])
