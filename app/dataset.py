"""What the Dataset tab does: a small plan over a few photos, carried out, audited and packed into one file.

Everything is written into a temporary folder of that one run. Gradio keeps copies of the files that are shown
or offered, for as long as it keeps any file.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from app.cancel import CancelledError
from app.dataset_engines import loader
from app.examples import example_photos
from app.settings import whole_number
from gendeg_core.dataset.audit import write_audit
from gendeg_core.dataset.audit_numbers import AuditNumbers
from gendeg_core.dataset.plan import PlanSettings, make_plan, read_plan, write_plan
from gendeg_core.dataset.run import PLAN, RunError, RunProgress, ShardBuilder, run_plan
from gendeg_core.dataset.schema import plan_schema
from gendeg_core.dataset.shards import iterate_rows
from gendeg_core.images import ImageError
from gendeg_core.images.opening import check_decodes
from gendeg_core.synthesize import ENGINES
from gendeg_core.types import Degradation

MOST_PHOTOS = 24
MOST_PER_IMAGE = 12
SIZES = (256, 512)
SHOWN = 48  # pairs in the gallery; the zip holds all
THUMB = 320  # longest side in pixels of each half of a shown pair
AUDIT = "audit.html"
# What a data set consists of; the run log names the machine and stays here.
PACKED = ("README.md", PLAN, "run.json", AUDIT, "data/*.parquet", "markers/*.json")


@dataclass(frozen=True)
class Order:
    """What a visitor asks for; `photos` are files, with a caption for each, perhaps empty."""

    photos: tuple[Path, ...]
    captions: tuple[str, ...]
    degradations: tuple[str, ...]
    engine: str
    seed: int
    per_image: int | None
    size: int


@dataclass(frozen=True)
class Finished:
    """A data set that is made; its files lie in the folder of the run until that ends.

    Args:
        pairs: pictures (clean | degraded) to show, with what to write below each.
    """

    audit: AuditNumbers
    progress: RunProgress
    report: Path
    archive: Path
    pairs: list[tuple[str, str]]


def read_order(
    photos: Sequence[str] | None,
    degradations: Sequence[str] | None,
    engine: object,
    seed: object,
    per_image: object,
    size: object,
) -> Order:
    """Check what was chosen. No `photos` at all (None) means the built-in examples.

    Raises:
        ValueError: a choice that cannot be carried out; the message is one sentence.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if not degradations:
        raise ValueError("No degradation is chosen; tick at least one.")
    kinds = tuple(Degradation.parse(name).value for name in degradations)
    if size not in SIZES:
        raise ValueError(f"size {size!r} is unknown; choose one of {', '.join(map(str, SIZES))}")
    number = whole_number("seed", seed)
    if number < 0:
        raise ValueError(f"seed={number} is negative; use 0 or more")
    each = None if per_image is None else whole_number("pictures per photo", per_image)
    if each is not None and not 1 <= each <= MOST_PER_IMAGE:
        raise ValueError(f"{each} pictures per photo cannot be made here; ask for 1 to {MOST_PER_IMAGE}")
    paths, captions = _chosen(photos)
    return Order(paths, captions, kinds, str(engine), number, each, int(str(size)))


def _chosen(photos: Sequence[str] | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Files and captions of the photos to work on."""
    if photos is None:
        examples = example_photos()
        return tuple(one.path for one in examples), tuple(one.caption for one in examples)
    if not photos:
        raise ValueError("Add photos first, or choose the built-in examples.")
    if len(photos) > MOST_PHOTOS:
        raise ValueError(
            f"{len(photos)} photos are too many for this page; give at most {MOST_PHOTOS}, or use "
            "`python -m gendeg_core dataset` on your own machine"
        )
    paths = tuple(Path(photo) for photo in photos)
    for path in paths:
        try:
            check_decodes(path)
        except ImageError as error:  # the server's folders are no business of the visitor
            raise ImageError(str(error).replace(str(path), path.name)) from error
    return paths, ("",) * len(paths)


def make_dataset(order: Order, folder: Path, stopped: Callable[[], bool]) -> Iterator[RunProgress | Finished]:
    """Make, audit and pack the data set of `order` inside `folder`; yields progress and what was made last.

    Raises:
        ValueError, OSError: it cannot be made.
        CancelledError: `stopped` said so; nothing of the data set is handed out.
    """
    names = _copy_photos(order.photos, folder / "photos")
    settings = PlanSettings(
        photos=str(folder / "photos"), seed=order.seed, per_image=order.per_image,
        degradations=order.degradations, size=order.size, engine=order.engine,
    )  # fmt: skip
    captions = dict(zip(names, order.captions, strict=True))
    write_plan(folder / PLAN, make_plan(settings, captions, photos=sorted(names)))
    output = folder / "dataset"
    progress = None
    try:
        builder = ShardBuilder("", load=loader(stopped))
        steps = run_plan(read_plan(folder / PLAN), output, builder, workers=0)
        with closing(cast("Generator[RunProgress]", steps)):  # its threads end before the folder goes
            for progress in steps:
                yield progress
                if stopped():
                    raise CancelledError
    except RunError as error:
        raise ValueError(str(error)) from error
    assert progress is not None, "a run says where it stands before anything else"
    _forget_place(output)
    audit = write_audit(output, output / AUDIT)
    archive = folder / f"gendeg-{order.engine}-seed{order.seed}.zip"
    _pack(output, archive)
    (folder / "pairs").mkdir()
    yield Finished(audit, progress, output / AUDIT, archive, _pairs(output, folder / "pairs"))


def _copy_photos(photos: Sequence[Path], folder: Path) -> list[str]:
    """Copies of `photos` in one folder; returns their names there. Files of one name get a number."""
    folder.mkdir()
    names: list[str] = []
    taken: set[str] = set()
    for photo in photos:
        name, number = photo.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{photo.stem}-{number}{photo.suffix}"
        taken.add(name.lower())
        names.append(name)
        shutil.copyfile(photo, folder / name)
    return names


def _forget_place(output: Path) -> None:
    """Leave the server's folders out of the plan that travels with the data set."""
    plan = read_plan(output / PLAN)
    settings = replace(plan.settings, photos="photos")
    write_plan(output / PLAN, plan.table.cast(plan_schema(asdict(settings))))


def _pack(output: Path, archive: Path) -> None:
    """One zip with the data set in a folder of the same name; shards hold PNG, so nothing is compressed."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for pattern in PACKED:
            for path in sorted(output.glob(pattern)):
                file.write(path, f"{archive.stem}/{path.relative_to(output).as_posix()}")


def _pairs(output: Path, folder: Path) -> list[tuple[str, str]]:
    """Pictures of the first pairs, clean on the left, and a line for each."""
    shown: list[tuple[str, str]] = []
    for row in iterate_rows(output):
        if len(shown) == SHOWN:
            break
        path = folder / f"{len(shown):03d}-{Path(row['degraded']['path']).stem}.jpg"
        _side_by_side(row["target"]["bytes"], row["degraded"]["bytes"]).save(path, quality=90)
        kind = Degradation(row["degradation"]).label
        line = f"{kind}: mu {row['mu_obtained']:.3f}, sigma {row['sigma_obtained']:.3f}"
        shown.append((str(path), line if row["accepted"] else f"{line}; refused: {row['reason']}"))
    return shown


def _side_by_side(clean: bytes, degraded: bytes) -> Image.Image:
    halves = []
    for content in (clean, degraded):
        with Image.open(io.BytesIO(content)) as image:
            halves.append(np.asarray(ImageOps.contain(image.convert("RGB"), (THUMB, THUMB))))
    gap = np.full((halves[0].shape[0], 4, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([halves[0], gap, halves[1]], 1))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder of one run, gone when the run has ended however it ends."""
    return tempfile.TemporaryDirectory(prefix="gendeg-dataset-", ignore_cleanup_errors=True)
