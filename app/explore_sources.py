"""What the map can show: the shipped map, tables of embeddings, GenDS shards and own photos.

Each becomes a `Source`: its table of embeddings, and a way to the pictures behind the rows.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app import embedders
from app.session import read, small_copy
from gendeg_core.embed.table import REQUIRED, EmbeddingTable, read_table
from gendeg_core.images import READABLE
from gendeg_core.paths import ASSETS
from gendeg_core.statistics import to_uint8
from gendeg_core.types import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.dataset.pairs import PairReader
    from gendeg_core.embed.projection import Points

SHIPPED = ASSETS / "explore"
MAP, PICTURES = "map.parquet", "pictures.parquet"
# Further columns that a table may have; clean and restored name the partners among the stored pictures.
FACTS = ("mu_asked", "sigma_asked", "seed", "engine", "caption", "clean", "restored")
NO_MAP = (
    "No map is installed here yet: assets/explore holds none. Make it with python -m app.shipped_map, or "
    "open embeddings, photos or GenDS shards of your own."
)
MOST_EMBEDDED = 2000  # pictures embedded in one go
MOST_POINTS = 10_000
THUMB = 128  # short side in pixels
OWN_SET = "own photos"

roots: list[Path] = []  # folders that the person who started the app lets it show photos from (--photos)


class Trio(NamedTuple):
    """The picture behind a point and its partners, as far as they are known."""

    picture: Image.Image | None = None
    clean: Image.Image | None = None
    restored: Image.Image | None = None


class Pictures(Protocol):
    """Finds the pictures of a row; where not `whole`, a small picture without partners is enough."""

    def __call__(self, row: int, *, whole: bool) -> Trio: ...


@dataclass(frozen=True, eq=False)
class Source:
    """Something that was opened.

    Args:
        facts: per row what else is known of it, by the names in `FACTS`.
        points: (N, 2) where they come with a map.
    """

    name: str
    table: EmbeddingTable
    pictures: Pictures
    facts: Sequence[Mapping[str, Any]]
    points: Points | None = None

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
            [self.facts[row] for row in rows],
            None if self.points is None else self.points[rows],
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


def open_files(paths: Sequence[Path], own: str | None = None) -> Generator[Progress | list[Source]]:
    """Open tables and shards, one source each, and all photos as one; yields progress, the sources last.

    Args:
        own: a visitor's weights; None for the installed ones.

    Raises:
        ValueError, OSError: something cannot be opened; the sentence names the file as the visitor knows it.
    """
    if not paths:
        raise ValueError("Nothing was chosen; add photos, a folder of photos, or Parquet files first.")
    photos = [path for path in paths if path.suffix.lower() in READABLE]
    tables = [path for path in paths if path.suffix == ".parquet"]
    if not photos and not tables:
        raise ValueError(f"{paths[0].name} is neither a photo nor a Parquet file; choose such files.")
    sources: list[Source] = []
    for path in tables:
        sources += [(yield from _open_parquet(path, own))]
    if photos:
        sources.append((yield from photo_source(photos, own)))
    yield sources


def _open_parquet(path: Path, own: str | None) -> Generator[Progress, None, Source]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gendeg_core.dataset.readers import pairs_in
    from gendeg_core.dataset.table_pairs import OURS, layout_of

    try:
        names = pq.read_schema(path).names
        if set(REQUIRED) <= set(names):
            return table_source(path)
        if layout_of(names) is not OURS:
            raise ValueError(
                f"{path.name} holds neither embeddings nor pairs with their images; make a table with "
                "python -m gendeg_core embed, or choose a GenDS shard"
            )
        return (yield from pair_source(path.stem, pairs_in(path), _asked(path), own))
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} is no Parquet file; choose another") from error
    except ValueError as error:  # the server's folders are no business of the visitor
        raise ValueError(str(error).replace(str(path), path.name)) from error


def table_source(path: Path, stored: Path | None = None) -> Source:
    """A table of embeddings, with coordinates if it holds them and pictures if `stored` does."""
    import pyarrow.parquet as pq

    table = read_table(path)
    names = pq.read_schema(path).names
    facts = pq.read_table(path, columns=[name for name in FACTS if name in names]).to_pylist()
    points = None
    if {"x", "y"} <= set(names):
        places = pq.read_table(path, columns=["x", "y"])
        points = np.stack([places[name].to_numpy() for name in ("x", "y")], axis=1).astype(np.float32)
    facts = facts or [{}] * len(table)
    pictures = _stored_pictures(stored, table.path, facts) if stored else _allowed_pictures(table)
    return Source(path.stem, table, pictures, facts, points)


def _stored_pictures(file: Path, names: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> Pictures:
    """Pictures that lie in a Parquet file by name; a few megabytes, kept in memory as they are stored."""
    import pyarrow.parquet as pq

    stored = pq.read_table(file, columns=["name", "image"])
    images = dict(zip(stored["name"].to_pylist(), stored["image"].to_pylist(), strict=True))

    def opened(name: str | None) -> Image.Image | None:
        return Image.open(io.BytesIO(images[name])).convert("RGB") if name and name in images else None

    def find(row: int, *, whole: bool) -> Trio:
        partners = [opened(facts[row].get(one)) for one in ("clean", "restored")] if whole else []
        return Trio(opened(names[row]), *partners)

    return find


def _allowed_pictures(table: EmbeddingTable) -> Pictures:
    """Photos that a table names, if they lie in a folder that may be shown: a table could name any file."""

    def find(row: int, *, whole: bool) -> Trio:
        path = Path(table.path[row])
        for candidate in (path, Path(table.source) / path):
            real = candidate.resolve()
            if any(real.is_relative_to(root) for root in roots) and real.is_file():
                return Trio(_picture(read(real).pixels, None if whole else THUMB))
        return Trio()

    return find


def pair_source(
    name: str, reader: PairReader, asked: Mapping[str, Mapping[str, Any]], own: str | None = None
) -> Generator[Progress, None, Source]:
    """Embed the degraded images of stored pairs; yields progress."""
    import torch

    rows = _spread(len(reader), MOST_EMBEDDED)
    seen: list[embedders.Seen] = []
    pairs = []
    for done, row in enumerate(rows):
        yield Progress(done, len(rows))
        pair = reader[int(row)]
        pixels = torch.from_numpy(pair["degraded"].copy()).permute(2, 0, 1).float() / 255
        seen.append(embedders.look(pixels, own))
        pairs.append((pair["name"], pair["mu"], pair["sigma"], str(pair["degradation"]), pair["caption"]))
    names, mu, sigma, labels, captions = (list(column) for column in zip(*pairs, strict=True))
    facts = [{"caption": text} | dict(asked.get(one, {})) for one, text in zip(names, captions, strict=True)]
    table = _table(
        names, seen, set=[name] * len(names), label=labels, mu=np.array(mu), sigma=np.array(sigma)
    )  # fmt: skip

    def find(row: int, *, whole: bool) -> Trio:
        pair = reader[int(rows[row])]
        return Trio(Image.fromarray(pair["degraded"]), Image.fromarray(pair["target"]) if whole else None)

    return Source(name, table, find, facts)


def _asked(shard: Path) -> dict[str, dict[str, Any]]:
    """What the plan asked for, by item."""
    import pyarrow.parquet as pq

    wanted = {"mu": "mu_asked", "sigma": "sigma_asked", "seed": "seed", "engine": "engine"}
    present = [name for name in wanted if name in pq.read_schema(shard).names]
    rows = pq.read_table(shard, columns=["item_id", *present]).to_pylist()
    return {row["item_id"]: {wanted[name]: row[name] for name in present} for row in rows}


def photo_source(paths: Sequence[Path], own: str | None = None) -> Generator[Progress, None, Source]:
    """Embed photos; a small copy of each stays in memory, the large one is read again where it is shown."""
    if len(paths) > MOST_EMBEDDED:
        raise ValueError(
            f"{len(paths)} photos are too many for this page; give at most {MOST_EMBEDDED}, or use "
            "python -m gendeg_core embed on your own machine and open its table"
        )
    seen: list[embedders.Seen] = []
    thumbs: list[bytes] = []
    for done, path in enumerate(paths):
        yield Progress(done, len(paths))
        pixels = read(path).pixels
        seen.append(embedders.look(pixels, own))
        thumbs.append(as_jpeg(_picture(pixels, THUMB)))

    def find(row: int, *, whole: bool) -> Trio:
        small = Image.open(io.BytesIO(thumbs[row]))
        return Trio(_picture(read(paths[row]).pixels, None) if whole and paths[row].is_file() else small)

    names = [path.name for path in paths]
    return Source(OWN_SET, _table(names, seen, set=[OWN_SET] * len(names)), find, [{}] * len(names))


def _table(names: list[str], seen: list[embedders.Seen], **columns: Any) -> EmbeddingTable:
    return EmbeddingTable(
        path=names,
        content=np.stack([one.content for one in seen]),
        degradation=np.stack([one.degradation for one in seen]),
        predicted=[one.predicted for one in seen],
        score=np.array([one.score for one in seen], np.float32),
        weights=seen[0].weights,
        **columns,
    )


def within_limit(sources: Sequence[Source]) -> list[Source]:
    """The sources, thinned evenly so that the map stays fluid in a browser."""
    total = sum(len(source.table) for source in sources)
    if total <= MOST_POINTS:
        return list(sources)
    share = MOST_POINTS / total
    return [source.take(_spread(len(source.table), int(len(source.table) * share))) for source in sources]


def short_name(path: str) -> str:
    """The file's name of a path or an item such as `park/tree.png|haze|0`."""
    return PurePath(path.partition("|")[0]).name


def as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Up to `most` of `count` rows, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _picture(pixels: Tensor, side: int | None) -> Image.Image:
    picture = Image.fromarray(to_uint8(pixels))
    return picture if side is None else Image.fromarray(to_uint8(small_copy(picture, side)))
