"""Pairs as rows of a table: our shards, or the published GenDS layout (Parquet, or CSV beside image folders).

An index of row numbers is kept in memory. Images are read a row group at a time into a small cache, so memory
does not grow with the number of rows.
"""

from __future__ import annotations

import csv
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendeg_core.dataset.pairs import PairEntry, PairReader, PairsError, spelled
from gendeg_core.types import Degradation

TABLE_BYTES = 128 * 2**20
FOOTER_BYTES = 16 * 2**20  # as stored; in memory some times more

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Layout:
    """Which column holds what; empty for what a table does not have."""

    degraded: str
    target: str
    degradation: str = "degradation"
    mu: str = ""
    sigma: str = ""
    caption: str = ""
    accepted: str = ""
    name: str = ""

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for name in vars(self).values() if name))


OURS = Layout(
    degraded="degraded",
    target="target",
    mu="mu_obtained",
    sigma="sigma_obtained",
    caption="caption",
    accepted="accepted",
    name="item_id",
)
# mu and sigma of the published table are what was asked for, never measured: they do not count as obtained.
PUBLISHED = Layout(degraded="image_path", target="target_path")


def layout_of(columns: Sequence[str]) -> Layout | None:
    """The layout that a table with these columns has; None for any other table."""
    return next((layout for layout in (OURS, PUBLISHED) if set(layout.columns) <= set(columns)), None)


def to_entry(row: Mapping[str, Any], layout: Layout, folder: Path, number: str) -> PairEntry:
    """One row as an entry.

    Args:
        folder: paths in the row start here.
        number: where the row stands, for messages and as its name if it has none.
    """
    degradation = spelled(row[layout.degradation] or "")
    if degradation is None:
        known = ", ".join(Degradation)
        raise PairsError(
            f"{number} has the unknown degradation {row[layout.degradation]!r}; known are {known}"
        )
    degraded, target = (_image(row[name], folder, number) for name in (layout.degraded, layout.target))
    fallback = str(degraded) if isinstance(degraded, Path) else number
    return PairEntry(
        name=row[layout.name] if layout.name else fallback,
        target=target,
        degraded=degraded,
        degradation=degradation,
        mu=row[layout.mu] if layout.mu else None,
        sigma=row[layout.sigma] if layout.sigma else None,
        caption=(row[layout.caption] or "") if layout.caption else "",
        accepted=row[layout.accepted] if layout.accepted else True,
    )


def _image(value: Any, folder: Path, number: str) -> bytes | Path:
    """An image cell: bytes, a path, or a struct of both as `datasets` writes it."""
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if not value:
        raise PairsError(f"{number} lacks one of its two images")
    return value if isinstance(value, bytes) else folder / value


class ParquetPairs(PairReader):
    """Pairs in Parquet files, images inside or beside them.

    Args:
        files: all of one layout; rows keep their order.
        folder: paths in the tables start here.
        rejected: rows that the filter refused count too.
        only: rows of this degradation alone; None for all.
    """

    def __init__(
        self, files: Sequence[Path], folder: Path, *, rejected: bool = False, only: Degradation | None = None
    ) -> None:
        self.files, self.folder, self.rejected, self.only = list(files), folder, rejected, only
        groups, rows, first = [], [], 0
        for number, file in enumerate(self.files):
            with _opened(file) as table:
                sizes = [table.metadata.row_group(g).num_rows for g in range(table.num_row_groups)]
                kept = self._kept(table, _layout(file, table.schema_arrow))
            rows.append(np.flatnonzero(kept) + first)
            for group, size in enumerate(sizes):
                groups.append((number, group, first))
                first += size
        self._groups = np.array(groups, np.int64).reshape(-1, 3)  # file, row group in it, first row overall
        self._rows = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        self._tables: _Cache[int, pa.Table] = _Cache(TABLE_BYTES)
        self._footers: _Cache[int, pq.FileMetaData] = _Cache(FOOTER_BYTES)

    def _kept(self, table: pq.ParquetFile, layout: Layout) -> np.ndarray:
        """(rows,) bool: which rows of a file count; only the small columns that decide it are read."""
        kept = np.ones(table.metadata.num_rows, bool)
        if layout.accepted and not self.rejected:
            column = table.read([layout.accepted])[layout.accepted]
            kept &= column.fill_null(False).to_numpy()
        if self.only is not None:
            names = table.read([layout.degradation])[layout.degradation].combine_chunks().dictionary_encode()
            wanted = np.array(
                [spelled(name or "") is self.only for name in names.dictionary.to_pylist()], bool
            )
            codes = names.indices.fill_null(-1).to_numpy()
            kept &= np.append(wanted, False)[codes]  # code -1, a row without degradation, is the last
        return kept

    def __len__(self) -> int:
        return len(self._rows)

    def kinds(self) -> np.ndarray:
        """Position in list(Degradation) of every pair; no image is read."""
        names: list[str | None] = []
        for file in self.files:
            with _opened(file) as table:
                column = _layout(file, table.schema_arrow).degradation
                names += table.read([column])[column].to_pylist()
        order = {name: _position(name) for name in set(names)}
        kinds = np.array([order[names[row]] for row in self._rows], np.int64)
        if len(unknown := np.flatnonzero(kinds < 0)):
            self.entry(int(unknown[0]))  # raises with the row's name
        return kinds

    def entry(self, k: int) -> PairEntry:
        row = int(self._rows[k])
        place = int(np.searchsorted(self._groups[:, 2], row, side="right")) - 1
        number, group, first = (int(n) for n in self._groups[place])
        file = self.files[number]
        table = self._tables.get(place)
        if table is None:
            table = self._read(number, group)
            self._tables.put(place, table, table.nbytes)
        (values,) = table.slice(row - first, 1).to_pylist()
        return to_entry(values, _layout(file, table.schema), self.folder, f"row {row} ({file.name})")

    def _read(self, number: int, group: int) -> pa.Table:
        """The columns we need of one row group of file `number`."""
        file, footer = self.files[number], self._footers.get(number)
        with _opened(file, footer) as opened:
            if footer is None:
                self._footers.put(number, opened.metadata, opened.metadata.serialized_size)
            columns = _layout(file, opened.schema_arrow).columns
            return opened.read_row_group(group, columns=columns, use_threads=False)


class CsvPairs(PairReader):
    """Pairs named by a CSV file; the images lie in folders beside it.

    Args:
        file: one that `is_index` accepts.
        only: rows of this degradation alone; None for all.
    """

    def __init__(self, file: Path, *, only: Degradation | None = None) -> None:
        self.file, self.offsets = file, np.zeros(0, np.int64)
        with file.open("rb") as lines:
            self.header = _header(lines.readline())
            layout = layout_of(self.header)
            assert layout is not None, "is_index was not asked"
            self.layout = layout
            offsets, place = [], lines.tell()
            for line in lines:
                if line.count(b'"') % 2:
                    raise PairsError(f"{file} has a line break inside a field at byte {place}; remove it")
                if line.strip() and (only is None or spelled(self._row(line)[layout.degradation]) is only):
                    offsets.append(place)
                place += len(line)
        self.offsets = np.array(offsets, np.int64)

    def __len__(self) -> int:
        return len(self.offsets)

    def entry(self, k: int) -> PairEntry:
        with self.file.open("rb") as lines:
            lines.seek(int(self.offsets[k]))
            row = self._row(lines.readline())
        return to_entry(row, self.layout, self.file.parent, f"pair {k} of {self.file.name}")

    def _row(self, line: bytes) -> dict[str, str]:
        values = next(csv.reader([line.decode()]))
        if len(values) != len(self.header):
            raise PairsError(
                f"{self.file} has {len(self.header)} columns but a line of {len(values)}: {line!r}"
            )
        return dict(zip(self.header, values, strict=True))


def is_index(file: Path) -> bool:
    """Whether the CSV file lists pairs."""
    with file.open("rb") as lines:
        return layout_of(_header(lines.readline())) is not None


def _position(name: str | None) -> int:
    """Position in list(Degradation) of what `name` spells; -1 for none of them."""
    kind = spelled(name or "")
    return -1 if kind is None else list(Degradation).index(kind)


def _header(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8-sig", errors="replace")]), [])


def _opened(file: Path, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    # Opened anew each time: a handle shared with forked data loaders would share its position too.
    try:
        return pq.ParquetFile(file, metadata=footer)
    except (pa.ArrowException, OSError) as error:
        raise PairsError(f"{file} is damaged or no Parquet file ({error}); make or fetch it again") from error


def _layout(file: Path, schema: pa.Schema) -> Layout:
    layout = layout_of(schema.names)
    if layout is None:
        raise PairsError(
            f"{file} holds no pairs: it has neither the columns {', '.join(OURS.columns)} nor "
            f"{', '.join(PUBLISHED.columns)}"
        )
    return layout


class _Cache(Generic[K, V]):
    """The things used last, at least one and together no more than a budget; empty after pickling."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Cache[K, V]], tuple[int]]:
        return (_Cache, (self.budget,))

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        with self._lock:
            if key in self._kept:  # another thread was faster
                return
            self._kept[key] = value, size
            self._bytes += size
            while len(self._kept) > 1 and self._bytes > self.budget:
                self._bytes -= self._kept.popitem(last=False)[1][1]
