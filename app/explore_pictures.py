"""The pictures behind the rows of a table: stored beside it, or in folders that the app may show."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from PIL import Image

from app.session import read, small_copy
from gendeg_core.embed.table import EmbeddingTable
from gendeg_core.statistics import to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.dataset.pairs import PairReader, StoredPair

THUMB = 128  # short side in pixels


class Trio(NamedTuple):
    """The picture behind a point and its partners, as far as they are known."""

    picture: Image.Image | None = None
    clean: Image.Image | None = None
    restored: Image.Image | None = None


class Pictures(Protocol):
    """Finds the pictures of a row; where not `whole`, a small picture without partners is enough."""

    def __call__(self, row: int, *, whole: bool) -> Trio: ...


class StoredItems(NamedTuple):
    """Pairs of a shard and where each lies in it, by item id and seed."""

    reader: PairReader
    places: Mapping[tuple[str, int], int]


def stored_pictures(file: Path, table: EmbeddingTable) -> Pictures:
    """Pictures that lie in a Parquet file by name; a few megabytes, kept in memory as they are stored."""
    import pyarrow.parquet as pq

    stored = pq.read_table(file, columns=["name", "image"])
    images = dict(zip(stored["name"].to_pylist(), stored["image"].to_pylist(), strict=True))

    def opened(names: Sequence[str] | None, row: int) -> Image.Image | None:
        image = images.get(names[row]) if names else None
        return Image.open(io.BytesIO(image)).convert("RGB") if image else None

    def find(row: int, *, whole: bool) -> Trio:
        partners = [opened(names, row) for names in (table.clean, table.restored)] if whole else []
        return Trio(opened(table.path, row), *partners)

    return find


def named_pictures(table: EmbeddingTable, roots: Callable[[], Sequence[Path]]) -> Pictures:
    """Pictures that a table names as files or as items of shards.

    They are shown if they lie in one of the folders `roots` gives: a table could name any file.
    """
    opened: dict[Path, StoredItems] = {}

    def photo(name: str, side: int | None) -> Image.Image | None:
        found = _allowed(_places(name, table.source, roots()), roots())
        file = next((path for path in found if path.is_file()), None)
        return None if file is None else picture_of(read(file).pixels, side)

    def pair(item: tuple[str, int]) -> StoredPair | None:
        for path in _allowed(_shard_places(table.source, roots()), roots()):
            if path not in opened:
                opened[path] = _items_in(path)
            if item in opened[path].places:
                return pair_inside(opened[path].reader, opened[path].places[item])
        return None

    def find(row: int, *, whole: bool) -> Trio:
        picture = photo(table.path[row], None if whole else THUMB)
        if picture is None and table.seed is not None and "|" in table.path[row]:
            stored = pair((table.path[row], int(table.seed[row])))
            return pair_pictures(stored, whole=whole) if stored else Trio()
        clean = photo(table.clean[row], None) if picture and whole and table.clean else None
        return Trio(picture, clean)

    return find


def _allowed(places: Iterator[Path], roots: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        real = place.resolve()
        if real.exists() and any(real.is_relative_to(root) for root in roots):
            yield real


def _places(name: str, source: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Where a photo may lie that a table names, which perhaps was made in another folder."""
    if not name:
        return
    path, start = Path(name), Path(source)
    below = path.relative_to(start) if path.is_relative_to(start) else path
    yield path
    yield start / path
    for root in roots:
        yield from (root / below, root / start.name / below, root / path)


def _shard_places(source: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Where a shard or a folder of shards may lie: its name is the same, perhaps with folders above it."""
    start = Path(source)
    if not start.name:
        return
    yield start
    for root in roots:
        yield from (root.joinpath(*start.parts[k:]) for k in range(len(start.parts)))
        if root.name == start.name:
            yield root


def _items_in(path: Path) -> StoredItems:
    """The pairs of our own shards at `path`; none where there is no such shard."""
    import pyarrow.parquet as pq

    from gendeg_core.dataset.readers import parquet_files
    from gendeg_core.dataset.table_pairs import OURS, ParquetPairs, layout_of

    files = [file for file in parquet_files(path) if layout_of(pq.read_schema(file).names) is OURS]
    places: dict[tuple[str, int], int] = {}
    for file in files:
        rows = pq.read_table(file, columns=["item_id", "seed"])
        for item in zip(rows["item_id"].to_pylist(), rows["seed"].to_pylist(), strict=True):
            places[item] = len(places)
    return StoredItems(ParquetPairs(files, path, rejected=True), places)


def pair_inside(reader: PairReader, row: int) -> StoredPair:
    """A pair whose images are in the shard itself.

    Raises:
        ValueError: the shard names files instead, which could be any on the server.
    """
    entry = reader.entry(row)
    if isinstance(entry.degraded, Path) or isinstance(entry.target, Path):
        raise ValueError(f"{entry.name} has its images beside the shard; choose shards with images inside")
    return reader[row]


def pair_pictures(pair: StoredPair, *, whole: bool) -> Trio:
    return Trio(Image.fromarray(pair["degraded"]), Image.fromarray(pair["target"]) if whole else None)


def picture_of(pixels: Tensor, side: int | None) -> Image.Image:
    """A picture of (3, H, W) in [0, 1], with a short side of at most `side`."""
    picture = Image.fromarray(to_uint8(pixels))
    return picture if side is None else Image.fromarray(to_uint8(small_copy(picture, side)))


def as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()
