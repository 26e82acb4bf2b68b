"""Captions of clean photos (GenDeg, arXiv 2411.17687, section 3.1): read from a CSV or written by a model.

The CSV has the columns file and caption. It may have suitable (0: leave the photo out), degradation (what the
photo shows already, with commas between), and what `caption_folder` adds: reason, model and hash.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from gendeg_core.dataset.pairs import spelled
from gendeg_core.types import Degradation, phrases

DEFAULT_MODEL = "Salesforce/blip2-opt-2.7b"
# The hash comes last: a line cut short by a kill is told by a short hash.
_COLUMNS: tuple[str, ...] = ("file", "caption", "suitable", "reason", "model", "hash")
_HASH_LENGTH = 32

Describe = Callable[[list[Image.Image]], list[str]]


@dataclass(frozen=True)
class CaptionProgress:
    """`done` of `total` photos, and for those of them that cannot be read, a sentence that says why."""

    done: int
    total: int
    unreadable: Mapping[str, str]


def without_phrase(caption: str) -> str:
    """`caption` without a degradation phrase at its end, so that published titles can serve as captions."""
    head, _, tail = caption.strip().rpartition(",")
    return head.strip() if tail.strip().rstrip(".") in phrases() else caption.strip()


def caption_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a caption file, by the name in their column file (forward slashes).

    Raises:
        ValueError: there is no such file, it is not a UTF-8 CSV, or a column is missing.
    """
    if not path.is_file():
        raise ValueError(f"there is no caption file {path}; give a CSV with columns file and caption")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"file", "caption"} - set(table.fieldnames or ())
            if missing:
                raise ValueError(
                    f"{path} has no column {' or '.join(sorted(missing))}; its first line must name it"
                )
            return {(row["file"] or "").replace("\\", "/"): row for row in table}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8 ({error}); save it as one") from error


def read_captions(path: Path) -> dict[str, str]:
    """Captions by photo; `captions.get("a/b.jpg")` finds the row "a/b.jpg" and also "photos/a/b.jpg".

    Every trailing part of a path is a key, unless two rows share it and differ in their captions.

    Raises:
        ValueError: see `caption_rows`.
    """
    return _by_trailing_part(
        {name: (row["caption"] or "").strip() for name, row in caption_rows(path).items()}
    )


def unsuitable_photos(path: Path) -> set[str]:
    """Photos, and trailing parts of their paths, that the caption file marks with suitable = 0."""
    marks = {name: row.get("suitable") or "1" for name, row in caption_rows(path).items()}
    return {name for name, mark in _by_trailing_part(marks).items() if mark.strip() == "0"}


def own_degradations(path: Path) -> dict[str, Sequence[str]]:
    """What photos show already, by photo and by trailing parts of its path, from the column `degradation`.

    Its spelling is free (Low-light, motion blur), several are separated by commas; without the column, {}.

    Raises:
        ValueError: see `caption_rows`; or a name that means no degradation.
    """
    texts = {name: row.get("degradation") or "" for name, row in caption_rows(path).items()}
    found: dict[str, Sequence[str]] = {}
    for name, text in _by_trailing_part(texts).items():
        if words := [word.strip() for word in text.split(",") if word.strip()]:
            kinds = [spelled(word) for word in words]
            if None in kinds:
                wrong = words[kinds.index(None)]
                raise ValueError(f"{path} says that {name} shows {wrong!r}; write {', '.join(Degradation)}")
            found[name] = [kind.value for kind in kinds if kind is not None]
    return found


def _by_trailing_part(values: dict[str, str]) -> dict[str, str]:
    shared: dict[str, str] = {}
    ambiguous = set()
    for name, value in values.items():
        parts = PurePosixPath(name).parts
        for first in range(1, len(parts)):
            part = "/".join(parts[first:])
            if shared.setdefault(part, value) != value:
                ambiguous.add(part)
    return {part: value for part, value in shared.items() if part not in ambiguous} | values


def caption_folder(
    photos: Path, output: Path, model: str | None = None, batch: int = 8, device: str | None = None
) -> Iterator[CaptionProgress]:
    """Caption every photo below `photos` into the CSV `output`; continues a run that was stopped.

    A photo whose content was captioned before is not described again, whatever its name. Corrections made by
    hand in the columns caption, suitable and reason stay. A photo that cannot be read is passed over.

    Args:
        model: a folder or a Hub name that transformers opens as an image-to-text model; None means BLIP-2.
        batch: photos described at once; at least 1.
        device: for example cpu or cuda:0; None takes what there is.

    Raises:
        ValueError: no photo is found, or `output` is a caption file from elsewhere or by another model.
        OSError: the model cannot be opened.
    """
    from gendeg_core.dataset.captioner import Captioner

    name = model or DEFAULT_MODEL
    opened: list[Captioner] = []

    def describe(images: list[Image.Image]) -> list[str]:
        if not opened:  # a run with nothing left to do needs no model
            opened.append(Captioner(name, device))
        return opened[0](images)

    yield from write_captions(photos, output, name, describe, batch)


def write_captions(
    photos: Path, output: Path, model: str, describe: Describe, batch: int = 8
) -> Iterator[CaptionProgress]:
    """`caption_folder` with any function from images to captions in the place of the model."""
    if batch < 1:
        raise ValueError(f"batch={batch} is below 1; give at least 1")
    from gendeg_core.dataset.plan import list_photos

    names = list_photos(photos)
    kept = {row["hash"]: row for row in _finished_rows(output, model)}
    # What a kill left behind is put in order first; new rows can then be appended.
    _rewrite(output, list(kept.values()))
    hashes: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    waiting: dict[str, tuple[str, Image.Image]] = {}
    for done, name in enumerate(names, 1):
        try:
            content = (photos / name).read_bytes()
            key = photo_hash(content)
            if key not in kept and key not in waiting:
                waiting[key] = name, _image(photos / name)
            hashes[name] = key
        except (ValueError, OSError) as error:  # ImageError, a sentence
            unreadable[name] = f"{name} cannot be read: {error}"
        if len(waiting) >= batch or (waiting and done == len(names)):
            rows = _describe(waiting, model, describe)
            _append(output, rows)
            kept |= {row["hash"]: row for row in rows}
            waiting = {}
        yield CaptionProgress(done, len(names), unreadable)
    _rewrite(output, [kept[key] | {"file": name} for name, key in hashes.items()])


def photo_hash(content: bytes) -> str:
    """BLAKE2b-128 of a photo's file, in hex."""
    return hashlib.blake2b(content, digest_size=_HASH_LENGTH // 2).hexdigest()


def _image(path: Path) -> Image.Image:
    from gendeg_core.images import read_photo
    from gendeg_core.statistics import to_uint8

    return Image.fromarray(to_uint8(read_photo(path).pixels))


def _describe(
    waiting: dict[str, tuple[str, Image.Image]], model: str, describe: Describe
) -> list[dict[str, str]]:
    captions = describe([image for _, image in waiting.values()])
    if len(captions) != len(waiting):
        raise ValueError(f"the model {model} gave {len(captions)} captions for {len(waiting)} photos")
    return [
        dict(zip(_COLUMNS, (name, caption, "1", "", model, key), strict=True))
        for (key, (name, _)), caption in zip(waiting.items(), captions, strict=True)
    ]


def _finished_rows(output: Path, model: str) -> list[dict[str, str]]:
    """Rows of an earlier run of the same model, without one that a kill cut short."""
    if not output.exists() or output.stat().st_size == 0:
        return []
    with output.open(newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != _COLUMNS:
            raise ValueError(
                f"{output} exists and was not written by this command; choose another output file, "
                "or use it as it is where captions are read"
            )
        rows = [row for row in table if len(row["hash"] or "") == _HASH_LENGTH]
    others = sorted({row["model"] for row in rows} - {model})
    if others:
        raise ValueError(
            f"{output} holds captions by the model {others[0]}, not {model}; name that one to go on, or "
            "choose another output file"
        )
    return rows


def _append(output: Path, rows: list[dict[str, str]]) -> None:
    with output.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerows(rows)
        file.flush()
        os.fsync(file.fileno())


def _rewrite(output: Path, rows: list[dict[str, str]]) -> None:
    from gendeg_core.images.write import write_atomically

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(output, text.getvalue().encode("utf-8"))
