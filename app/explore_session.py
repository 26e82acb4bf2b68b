"""What the server remembers of one visitor to the Explore tab: the map, what is selected, own weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from app.explore_pictures import Trio
from app.explore_sources import Source, within_limit
from gendeg_core.embed.joining import JoinedTable, join_tables
from gendeg_core.embed.projection import MapSettings, PlacedMap, Points

if TYPE_CHECKING:
    from PIL import Image

    from app.embedders import Seen
    from gendeg_core.embed.numbers import Numbers

Column = Literal["degradation", "content"]
NO_MAP_YET = "There is no map yet; open one first."


@dataclass(frozen=True, eq=False)
class Star:
    """A visitor's photo on the map."""

    name: str
    picture: Image.Image
    seen: Seen
    x: float
    y: float

    @property
    def label(self) -> str:
        return f"{self.name}: {self.seen.predicted.replace('_', ' ')} {self.seen.score:.2f}"

    def embedding(self, column: Column) -> NDArray[np.float32]:
        return getattr(self.seen, column)


@dataclass(eq=False)
class ShownMap:
    """Sources joined on one map.

    Args:
        points: (N, 2), those of the last frame.
        key: names the map for the browser, which keeps the visitor's view while it stays.
        iterations: done and wanted; equal when the map is finished.
    """

    sources: tuple[Source, ...]
    joined: JoinedTable
    column: Column
    settings: MapSettings
    points: Points
    key: str
    iterations: tuple[int, int]
    stars: list[Star] = field(default_factory=list)
    numbers: Numbers | None = None

    def __len__(self) -> int:
        return len(self.joined.table)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        return getattr(self.joined.table, self.column)

    def pictures(self, row: int, *, whole: bool) -> Trio:
        for source in self.sources:
            if row < len(source.table):
                return source.pictures(row, whole=whole)
            row -= len(source.table)
        raise IndexError(row)

    def nearest(
        self, embedding: NDArray[np.float32], count: int, without: int = -1
    ) -> list[tuple[int, float]]:
        """Rows whose embeddings have the smallest angle with one of (D,), and the cosine of it."""
        cosines = self._directions @ (embedding / (np.linalg.norm(embedding) or 1.0))
        order = [int(row) for row in np.argsort(-cosines, kind="stable")[: count + 1] if row != without]
        return [(row, float(cosines[row])) for row in order[:count]]

    def place(self, embeddings: NDArray[np.float32]) -> Points:
        """Where further embeddings, (M, D), fall: (M, 2)."""
        return self._placed.place(embeddings)

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        rows = np.asarray(self.embeddings, dtype=np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    @cached_property
    def _placed(self) -> PlacedMap:
        return PlacedMap(self.embeddings, self.points, self.settings)


class ExploreSession:
    """Kept in a `gr.State`, one per visitor and tab.

    `cancels` and `armed` count as in `session.Session`. `selected` is a row of the map, `star` the number of
    a photo that the visitor added. A plain class, because Gradio writes a dataclass's fields into the page.
    """

    def __init__(self) -> None:
        self.shown: ShownMap | None = None
        self.own: str | None = None  # weights of the visitor's own
        self.colour = "degradation"
        self.selected: int | None = None
        self.star: int | None = None
        self.maps = self.cancels = self.armed = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def next_key(self) -> str:
        self.maps += 1
        return f"map {self.maps}"

    def map(self) -> ShownMap:
        """The map on the page.

        Raises:
            ValueError: there is none.
        """
        if self.shown is None:
            raise ValueError(NO_MAP_YET)
        return self.shown

    def folder(self) -> Path:
        """A folder of this visitor's own, gone when the session is."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gendeg-explore-", ignore_cleanup_errors=True)
        return Path(self._folder.name)


def joined_sources(sources: Sequence[Source]) -> tuple[tuple[Source, ...], JoinedTable]:
    """The sources, thinned to what a map holds, and their rows one below the other.

    Raises:
        ValueError: embeddings of different weights, or none at all.
    """
    kept = tuple(within_limit(sources))
    return kept, join_tables([source.table for source in kept], [source.name for source in kept])
