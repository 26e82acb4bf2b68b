"""What a map shows: the shipped map, tables of embeddings, and what is embedded here.

Each becomes a `Source`: its table of embeddings, and a way to the pictures behind the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.explore_pictures import Pictures, named_pictures, stored_pictures
from gendeg_core.embed.table import EmbeddingTable, read_table
from gendeg_core.paths import ASSETS

if TYPE_CHECKING:
    from gendeg_core.embed.projection import Points

SHIPPED = ASSETS / "explore"
MAP, PICTURES = "map.parquet", "pictures.parquet"
NO_MAP = (
    "No map is installed here yet: assets/explore holds none. Make it with python -m app.shipped_map, or "
    "open embeddings, photos or GenDS shards of your own."
)
MOST_POINTS = 10_000

roots: list[Path] = []  # folders that the person who started the app lets it show photos from (--photos)


@dataclass(frozen=True, eq=False)
class Source:
    """Something that was opened.

    Args:
        points: (N, 2) where they come with a map.
        given: photos that were there to choose these from; None where these are all.
    """

    name: str
    table: EmbeddingTable
    pictures: Pictures
    points: Points | None = None
    given: int | None = None

    @property
    def sets(self) -> list[str]:
        return [one or self.name for one in self.table.set or [""] * len(self.table)]

    @property
    def total(self) -> int:
        return len(self.table) if self.given is None else self.given

    def take(self, rows: NDArray[np.int64]) -> Source:
        """The same with these rows only."""
        table, pictures = self.table, self.pictures
        columns: dict[str, Any] = {}
        for name in table.columns():
            values = getattr(table, name)
            columns[name] = values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
        return Source(
            self.name,
            replace(table, **columns),
            lambda row, *, whole: pictures(int(rows[row]), whole=whole),
            None if self.points is None else self.points[rows],
            self.total,
        )


def shipped_source(folder: Path | None = None) -> Source:
    """The map that comes with the project.

    Raises:
        ValueError: none is installed.
    """
    folder = folder or SHIPPED
    if not (folder / MAP).is_file():
        raise ValueError(NO_MAP)
    return table_source(folder / MAP, folder / PICTURES)


def table_source(path: Path, stored: Path | None = None) -> Source:
    """A table of embeddings, with coordinates if it holds them and pictures if `stored` does."""
    import pyarrow.parquet as pq

    table = read_table(path)
    points = None
    if {"x", "y"} <= set(pq.read_schema(path).names):
        places = pq.read_table(path, columns=["x", "y"])
        points = np.stack([places[name].to_numpy() for name in ("x", "y")], axis=1).astype(np.float32)
    pictures = stored_pictures(stored, table) if stored else named_pictures(table, lambda: roots)
    return Source(path.stem, table, pictures, points)


def within_limit(sources: Sequence[Source]) -> list[Source]:
    """The sources, thinned so that the map stays fluid in a browser: sets evenly, and the largest first."""
    if sum(len(source.table) for source in sources) <= MOST_POINTS:
        return list(sources)
    rows: dict[tuple[int, str], list[int]] = {}
    for k, source in enumerate(sources):
        for row, name in enumerate(source.sets):
            rows.setdefault((k, name), []).append(row)
    kept: list[list[int]] = [[] for _ in sources]
    left = MOST_POINTS
    for done, (k, name) in enumerate(sorted(rows, key=lambda one: len(rows[one]))):
        ours = rows[k, name]
        chosen = evenly(len(ours), left // (len(rows) - done))
        kept[k] += [ours[at] for at in chosen]
        left -= len(chosen)
    return [
        source.take(np.array(sorted(chosen), np.int64)) for source, chosen in zip(sources, kept, strict=True)
    ]


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Up to `most` of `count` rows, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def short_name(path: str) -> str:
    """The file's name of a path or an item such as `park/tree.png|haze|0`."""
    return PurePath(path.partition("|")[0]).name
