"""The full-size file of one restored version: bit depth, alpha, EXIF and colour profile as in the photo."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import restorers
from app.cancel import CancelledError, stoppable
from app.refusals import expected, in_sentences, sentence
from app.restoration import choices_of, fidelity, tiles_done
from app.restore_session import RestoreSession, Version
from app.session import SessionPhoto, photo_of, read
from app.widgets.status_line import say
from gendeg_core.images import write_photo
from gendeg_core.types import Progress

if TYPE_CHECKING:
    from gendeg_core.restore.infer import Restored


class RestoredFile(NamedTuple):
    """A finished full-size file and what is known about it."""

    path: Path
    record: dict[str, Any]


def restore_file(
    source: Path,
    folder: Path,
    choice: restorers.Choice,
    *,
    suffix: str = ".png",
    tile: int | None = None,
    clean: str | None = None,
) -> Generator[Progress | RestoredFile]:
    """Restore the photo in the file `source` at its own size and write it into `folder`.

    Bit depth, alpha, EXIF and colour profile are kept as far as the format of `suffix` can; what was done is
    stored inside the file and in its name.

    Args:
        clean: file with the clean photo; its metrics then are part of the record.
    """
    photo = read(source)
    truth = read(Path(clean)).pixels if clean else None
    if truth is not None and truth.shape != photo.pixels.shape:
        sizes = " and ".join(f"{one.shape[2]} x {one.shape[1]}" for one in (photo.pixels, truth))
        raise ValueError(f"the photo and the clean one differ in size, {sizes}; give the same pixels")
    with closing(restorers.run(choice.model, choice.weights, photo.pixels, tile)) as steps:
        for item in steps:
            if isinstance(item, Progress):
                yield item
                continue
            path = folder / file_name(source.stem, choice, suffix)
            record = record_of(choice, item)
            write_photo(path, item.image, like=photo, settings=record)
            if truth is not None:
                record |= {
                    name: dict(zip(("psnr", "ssim"), fidelity(pixels, truth), strict=True))
                    for name, pixels in (("photo", photo.pixels), ("restored", item.image))
                }
            yield RestoredFile(path, record)


def file_name(photo: str, choice: restorers.Choice, suffix: str) -> str:
    return f"{photo}_restored_{choice.key}{suffix}"


def record_of(choice: restorers.Choice, made: Restored | Version) -> dict[str, Any]:
    """What is stored inside the file and returned to API callers."""
    return {
        "restored_with": made.model,
        "training": choice.badges[0],
        "weights": made.weights,
        "tile": made.tile,
        "seconds": None if made.seconds is None else round(made.seconds, 3),
    }


@in_sentences
def full_size(session: RestoreSession, key: str | None, suffix: str) -> Iterator[tuple[Any, Any]]:
    """Write the restored photo at its own size; yields (file for the download button, status).

    What the comparison made at full size is written as it is; otherwise the network works once more.
    """
    photo = photo_of(session)
    (choice,) = restorers.pick([key] if key else None, choices_of(session))
    wanted = session.armed
    yield gr.skip(), say(f"{choice.title}: preparing the file", 0)
    if not photo.path.exists():
        raise ValueError("The photo is no longer on the server; add it again.")
    # Gradio makes the page's own copy when the path is yielded, so this folder can go right after.
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        version, started = _finished(session, choice.key), time.perf_counter()
        work = (
            restore_file(photo.path, Path(folder), choice, suffix=suffix)
            if version is None
            else _write_version(version, photo, Path(folder), choice, suffix)
        )
        try:
            with closing(stoppable(session, wanted, work)) as steps:
                for item in steps:
                    if isinstance(item, Progress):
                        spent = time.perf_counter() - started
                        yield gr.skip(), _where(choice.title, photo.size, item, spent)
                    else:
                        yield gr.update(value=str(item.path), interactive=True), _ready(item.path, photo)
        except CancelledError:
            yield gr.update(value=None, interactive=False), say("Cancelled: no file was written.")
        except Exception as error:
            if expected(error):
                yield gr.update(value=None, interactive=False), say(sentence(error))
            raise


def _write_version(
    version: Version, photo: SessionPhoto, folder: Path, choice: restorers.Choice, suffix: str
) -> Generator[RestoredFile]:
    path = folder / file_name(photo.name, choice, suffix)
    record = record_of(choice, version)
    write_photo(path, version.pixels(), like=read(photo.path), settings=record)
    yield RestoredFile(path, record)


def _finished(session: RestoreSession, key: str) -> Version | None:
    """What the comparison has already made of the photo that is open, at its own size."""
    comparison = session.comparison
    if comparison is None or not comparison.full or comparison.photo is not session.photo:
        return None
    return comparison.version(key)


def _where(title: str, size: tuple[int, int], progress: Progress, spent: float) -> dict[str, Any]:
    text = f"{size[0]} × {size[1]} pixels, {tiles_done(title, progress, spent)}"
    return say(text, progress.done / progress.total)


def _ready(path: Path, photo: SessionPhoto) -> dict[str, Any]:
    megabytes = path.stat().st_size / 1e6
    return say(f"File ready: {path.name}, {photo.size[0]} × {photo.size[1]} pixels, {megabytes:.1f} MB.")
