"""Files that a visitor opens for a map: tables of embeddings, and shards and photos to embed here."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app import embedders
from app.explore_pictures import THUMB, Trio, as_jpeg, pair_inside, pair_pictures, picture_of
from app.explore_sources import Source, evenly, table_source
from app.session import read
from gendeg_core.dataset.notes import Note, asked_in, columns_of, note_of
from gendeg_core.embed.table import REQUIRED, EmbeddingTable
from gendeg_core.images import READABLE
from gendeg_core.types import Progress

PLAN = "plan.parquet"  # beside the shards that the data factory writes
MOST_EMBEDDED = 2000  # pictures embedded in one go
OWN_SET = "own photos"


def open_files(
    paths: Sequence[Path],
    own: str | None = None,
    *,
    name: str = "",
    taken: Collection[str] = (),
    whole: bool = False,
) -> Generator[Progress | list[Source]]:
    """Open each table, the shards of each data set and all photos as a source each; skip the rest.

    Yields progress, the sources last.

    Args:
        own: a visitor's weights; None for the installed ones.
        name: of the sets that are embedded here; empty for that of the shards, and `OWN_SET` for photos.
        taken: sets that are there already; those embedded here get other names.
        whole: refuse a data set of more than `MOST_EMBEDDED` pairs, of which else so many are chosen.

    Raises:
        ValueError, OSError: something cannot be opened; the sentence names the file as the visitor knows it.
    """
    if not paths:
        raise ValueError("Nothing was chosen; add photos, a folder of photos, or Parquet files first.")
    photos = [path for path in paths if path.suffix.lower() in READABLE]
    tables = [path for path in paths if path.suffix == ".parquet"]
    if len(tables) > 1:  # the whole folder of a data set may be chosen, and its plan holds no pairs
        tables = [path for path in tables if path.name != PLAN]
    if not photos and not tables:
        raise ValueError(f"{paths[0].name} is neither a photo nor a Parquet file; choose such files.")
    sources: list[Source] = []
    data_sets: dict[str, list[Path]] = {}
    for path in tables:
        with _without_folders([path]):
            embedded = _holds_embeddings(path)
            sources += [table_source(path)] if embedded else []
        if not embedded:
            data_sets.setdefault(re.sub(r"-\d+(?=-of-\d+$)", "", path.stem), []).append(path)
    sets = set(taken).union(*(source.sets for source in sources))
    for stem, shards in data_sets.items():
        free = _free_name(name or re.sub(r"-of-\d+$", "", stem), sets)
        with _without_folders(shards):
            sources.append((yield from pair_source(free, shards, own, whole=whole)))
        sets.add(free)
    if photos:
        sources.append((yield from photo_source(_free_name(name or OWN_SET, sets), photos, own)))
    yield sources


def _free_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number where another set has it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def _holds_embeddings(path: Path) -> bool:
    """Whether it is a table of embeddings rather than a shard.

    Raises:
        ValueError: it is neither.
    """
    import pyarrow.parquet as pq

    from gendeg_core.dataset.table_pairs import OURS, layout_of

    names = pq.read_schema(path).names
    embedded = set(REQUIRED) <= set(names)
    if not embedded and layout_of(names) is not OURS:
        raise ValueError(
            f"{path.name} holds neither embeddings nor pairs with their images; make a table with "
            "python -m gendeg_core embed, or choose a GenDS shard"
        )
    return embedded


@contextmanager
def _without_folders(paths: Sequence[Path]) -> Iterator[None]:
    """Errors name files as the visitor knows them: the server's folders are no business of theirs."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(f"{paths[0].name} is no Parquet file; choose another") from error
    except ValueError as error:
        text = str(error)
        for path in paths:
            text = text.replace(str(path), path.name)
        raise ValueError(text) from error


def pair_source(
    name: str, shards: Sequence[Path], own: str | None, *, whole: bool
) -> Generator[Progress, None, Source]:
    """Embed degraded images of the accepted pairs in the shards of a data set; yields progress.

    Raises:
        ValueError: no such pair, images beside the shards, a shard that is there twice, or, where the `whole`
            data set is asked for, one that is too large.
    """
    import torch

    from gendeg_core.dataset.table_pairs import ParquetPairs

    shards = sorted(shards, key=lambda path: path.name)
    for one, following in itertools.pairwise(shards):
        if one.name == following.name:
            raise ValueError(f"{one.name} is there twice; open one data set, and then the other beside it")
    reader = ParquetPairs(shards, shards[0].parent)
    if not len(reader):
        raise ValueError(f"{name} holds no accepted pair; choose other shards")
    if whole and len(reader) > MOST_EMBEDDED:
        raise ValueError(
            f"the {len(reader)} pairs of {name} are more than the {MOST_EMBEDDED} that are embedded here; "
            "give fewer shards, or use python -m gendeg_core embed on your own machine"
        )
    rows = evenly(len(reader), MOST_EMBEDDED)
    asked = asked_in(shards, shards[0].parent)
    seen: list[embedders.Seen] = []
    notes: list[Note] = []
    for done, row in enumerate(rows):
        yield Progress(done, len(rows))
        pair = pair_inside(reader, int(row))
        pixels = torch.from_numpy(pair["degraded"].copy()).permute(2, 0, 1).float() / 255
        seen.append(embedders.look(pixels, own))
        notes.append(note_of(reader.entry(int(row)), pair, asked))

    def find(row: int, *, whole: bool) -> Trio:
        return pair_pictures(reader[int(rows[row])], whole=whole)

    return Source(name, _table(name, seen, notes), find, given=len(reader))


def photo_source(name: str, paths: Sequence[Path], own: str | None) -> Generator[Progress, None, Source]:
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
        thumbs.append(as_jpeg(picture_of(pixels, THUMB)))

    def find(row: int, *, whole: bool) -> Trio:
        small = Image.open(io.BytesIO(thumbs[row]))
        return Trio(picture_of(read(paths[row]).pixels, None) if whole and paths[row].is_file() else small)

    return Source(name, _table(name, seen, [Note(path.name) for path in paths]), find)


def _table(name: str, seen: Sequence[embedders.Seen], notes: Sequence[Note]) -> EmbeddingTable:
    columns: dict[str, Any] = columns_of(notes)
    return EmbeddingTable(
        content=np.stack([one.content for one in seen]),
        degradation=np.stack([one.degradation for one in seen]),
        predicted=[one.predicted for one in seen],
        score=np.array([one.score for one in seen], np.float32),
        set=[name] * len(seen),
        weights=seen[0].weights,
        **columns,
    )
