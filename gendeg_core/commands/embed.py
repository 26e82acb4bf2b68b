"""`embed`: content and degradation embeddings of photos or stored pairs, as a Parquet table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line, say
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.dataset.notes import Note
    from gendeg_core.dataset.pairs import PairReader
    from gendeg_core.embed.loading import Embedder
    from gendeg_core.embed.table import EmbeddingTable

DESCRIPTION = """Embed photos, or the degraded images of stored pairs, with DA-CLIP and write a Parquet table
with the columns path, content, degradation, predicted and score; pairs add mu, sigma, label, the clean photo
and what was asked for."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("embed", help="embed photos for maps and numbers", description=DESCRIPTION)
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="a photo, a folder of photos, or stored pairs")
    add("--output", metavar="FILE", type=Path, required=True, help="table to write, .parquet")
    add("--weights", metavar="PATH", type=Path, help="folder of weights, or a published DA-CLIP checkpoint")
    add("--set", metavar="NAME", help="name of this set in maps (default: the name of SRC)")
    add("--dataset", metavar="NAME", help="data set that the images come from (default: what pairs say)")
    add("--limit", metavar="N", type=int, help="embed only the first N images")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status 0, 1 or 130.

    Raises:
        UsageError: the arguments cannot be used.
    """
    _check(args)
    from gendeg_core.dataset.pairs import PairsError
    from gendeg_core.embed.loading import load_embedder
    from gendeg_core.embed.table import write_table
    from gendeg_core.images import ImageError

    failures: list[str] = []
    try:
        count, items = source_items(args.source, args.limit, failures)
        embedder = load_embedder(args.weights)
    except (PairsError, ImageError, OSError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    try:
        table = embedded(items, count, embedder, args)
    except KeyboardInterrupt:
        say("interrupted: no table written")
        return 130
    except PairsError as error:
        say(str(error))
        return 1
    for sentence in failures:
        say(sentence)
    if not len(table):
        say(f"no image of {args.source} could be read; no table written")
        return 1
    try:
        write_table(table, args.output)
    except OSError as error:
        say(one_line(error))
        return 1
    sys.stdout.write(f"{args.output}: {len(table)} images, weights {table.weights}\n{_accuracy(table)}")
    return 1 if failures else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what is cheap to refuse before anything is loaded."""
    if args.output.suffix != ".parquet":
        raise UsageError(f"{args.output} does not end in .parquet; choose such a name")
    if not args.output.parent.is_dir():
        raise UsageError(f"{args.output.parent} is no folder; make it first")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit} must be 1 or more")
    if not args.source.exists():
        raise UsageError(f"{args.source} does not exist; check the spelling")


def source_items(
    source: Path, limit: int | None, failures: list[str]
) -> tuple[int, Iterator[tuple[Tensor, Note]]]:
    """How many images `source` holds, and each of them, (3, H, W) in [0, 1].

    A photo that cannot be read adds a sentence to `failures`.
    """
    if is_pairs(source):
        from gendeg_core.dataset.readers import pairs_in

        reader = pairs_in(source, unlabelled=True)
        count = min(len(reader), limit or len(reader))
        return count, _of_pairs(source, reader, count)
    photos = find_photos(source)[:limit]
    return len(photos), _of_photos(photos, failures)


def is_pairs(source: Path) -> bool:
    """Whether `source` holds stored pairs rather than plain photos."""
    from gendeg_core.dataset.folder_pairs import lq_gt_folders
    from gendeg_core.dataset.readers import parquet_files
    from gendeg_core.dataset.table_pairs import is_index

    if source.is_file():
        return source.suffix in (".parquet", ".csv")
    indexed = any(is_index(file) for file in source.glob("*.csv"))
    return indexed or bool(parquet_files(source) or lq_gt_folders(source))


def find_photos(source: Path) -> list[Path]:
    """The photo, or all photos below the folder, sorted."""
    from gendeg_core.images import READABLE

    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in READABLE)
    photos = [path for path in found if not path.name.startswith(".")]
    if not photos:
        raise UsageError(f"no photo ({', '.join(READABLE)}) in {source}; name a folder that has some")
    return photos


def _of_photos(photos: list[Path], failures: list[str]) -> Iterator[tuple[Tensor, Note]]:
    from gendeg_core.dataset.notes import Note
    from gendeg_core.dataset.pairs import spelled
    from gendeg_core.images import ImageError, read_photo

    for path in photos:
        try:
            image = read_photo(path).pixels
        except ImageError as error:
            failures.append(str(error))
            continue
        kind = next((k for part in path.parts[-2:-4:-1] if (k := spelled(part)) is not None), None)
        yield image, Note(str(path), label=kind or "")


def _of_pairs(source: Path, reader: PairReader, count: int) -> Iterator[tuple[Tensor, Note]]:
    import torch

    from gendeg_core.dataset.notes import asked_in, note_of
    from gendeg_core.dataset.readers import parquet_files
    from gendeg_core.dataset.table_pairs import is_index

    tables = [source] if source.is_file() else sorted(source.glob("*.csv"))
    tables = parquet_files(source) or [table for table in tables if is_index(table)]
    asked = asked_in(tables, source if source.is_dir() else source.parent)
    for k in range(count):
        pair = reader[k]
        image = torch.from_numpy(pair["degraded"].copy()).permute(2, 0, 1).float() / 255
        yield image, note_of(reader.entry(k), pair, asked)


def embedded(
    items: Iterator[tuple[Tensor, Note]], count: int, embedder: Embedder, args: argparse.Namespace
) -> EmbeddingTable:
    """The table of all items, one image at a time, since their sizes differ."""
    import torch
    from tqdm import tqdm

    from gendeg_core.dataset.notes import columns_of
    from gendeg_core.embed.table import EmbeddingTable

    notes: list[Note] = []
    content, degradation = [], []
    for image, note in tqdm(items, total=count, disable=not sys.stderr.isatty(), leave=False):
        c, d = embedder.embed(image[None])
        content.append(c)
        degradation.append(d)
        notes.append(note)
    empty = torch.empty(0, embedder.dimensions)
    predicted, score = embedder.classify(torch.cat([*degradation, empty]))
    columns: dict[str, Any] = columns_of(notes) | {
        "set": [args.set or args.source.resolve().name] * len(notes)
    }
    if args.dataset:
        columns["dataset"] = [args.dataset] * len(notes)
    return EmbeddingTable(
        content=torch.cat([*content, empty]).numpy(),
        degradation=torch.cat([*degradation, empty]).numpy(),
        predicted=[str(kind) for kind in predicted],
        score=score.numpy(),
        weights=embedder.weights,
        source=str(args.source),
        **columns,
    )


def _accuracy(table: EmbeddingTable) -> str:
    """A line on how many known degradations were recognised; nothing where none is known."""
    pairs = [(t, p) for t, p in zip(table.label or [], table.predicted, strict=True) if t]
    if not pairs:
        return ""
    right = sum(true == predicted for true, predicted in pairs)
    known = ", ".join(
        f"{kind.label} {sum(t == p for t, p in pairs if t == kind)}/{sum(t == kind for t, _ in pairs)}"
        for kind in Degradation
        if any(t == kind for t, _ in pairs)
    )
    return f"recognised {right} of {len(pairs)}: {known}\n"
