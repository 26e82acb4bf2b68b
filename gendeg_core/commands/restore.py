"""`restore`: a photo or a folder tree of photos, restored by one network, written with their settings.

A folder run can be killed at any time and repeated: what is finished (same photo, same weights) is skipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line, say
from gendeg_core.commands.batch import Record, digest, finished_settings, json_line, report, run_jobs
from gendeg_core.commands.plan import Job, plan_jobs

if TYPE_CHECKING:
    from gendeg_core.images import Photo
    from gendeg_core.restore.infer import Restored
    from gendeg_core.restore.loading import Restorer

DESCRIPTION = "Restore degraded photos with one of the networks, over tiles where they are large."
# Those of gendeg_core.restore.loading, which is heavy to import.
MODELS = ("nafnet", "promptir", "swin", "any")
_OBTAINED = ("tile_used",)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "restore", help="restore a photo or a folder of photos", description=DESCRIPTION
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="a photo, or a folder whose structure is kept")
    add("--output", metavar="DST", required=True, help="file or folder for a photo, folder for a folder")
    add("--model", required=True, choices=MODELS, help="the network; any for whatever a path holds")
    add(
        "--weights",
        default="existing",
        metavar="existing|gends|PATH",
        help="shipped ones, trained on existing data or with GenDS, or a folder or checkpoint "
        "(default existing)",
    )
    add(
        "--tile",
        type=int,
        metavar="N",
        help="side of the tiles in pixels, 0 for one piece; chosen by photo and network when left out",
    )
    add("--json", action="store_true", help="one line of JSON per photo on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status 0, 1 or 130.

    Raises:
        UsageError: the arguments cannot be used.
    """
    failures: list[str] = []
    jobs = plan_jobs(args.source, args.output, lambda sentence: report(sentence, failures))
    restorer = _load_restorer(args)

    def work(job: Job, show: Callable[[float], None]) -> Record:
        return _restore_file(restorer, args.tile, job, show)

    return run_jobs(jobs, failures, work, json_line if args.json else _line)


def _load_restorer(args: argparse.Namespace) -> Restorer:
    from gendeg_core.restore.infer import check_tile
    from gendeg_core.restore.loading import load_restorer

    try:
        check_tile(args.tile)
        return load_restorer(args.model, args.weights)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error


def _restore_file(restorer: Restorer, tile: int | None, job: Job, show: Callable[[float], None]) -> Record:
    from gendeg_core.images import read_photo, write_photo

    start = time.perf_counter()
    settings: Record = {
        "model": restorer.model,
        "weights": restorer.weights,
        "tile": tile,
        "photo": digest(job.source),
    }
    if job.item is not None and (stored := finished_settings(job, settings, _OBTAINED)):
        say(f"{job.output} is there already, made with the same settings; skipped")
        return _record(job, stored, time.perf_counter() - start)
    photo = read_photo(job.source)
    for warning in photo.warnings:
        say(warning)
    restored = _run(restorer, photo, tile, show)
    settings |= {"tile_used": restored.tile}
    write_photo(job.output, restored.image, photo, settings=settings)
    return _record(job, settings, time.perf_counter() - start)


def _run(restorer: Restorer, photo: Photo, tile: int | None, show: Callable[[float], None]) -> Restored:
    from gendeg_core.restore.infer import Restored, restore_steps

    for item in restore_steps(restorer, photo.pixels, tile=tile):
        if isinstance(item, Restored):
            return item
        show(item.done / item.total)
    raise AssertionError("the steps end with the result")


def _record(job: Job, settings: Record, seconds: float) -> Record:
    return {
        "input": str(job.source),
        "output": str(job.output),
        "model": settings["model"],
        "weights": settings["weights"],
        "tile": settings["tile_used"],
        "seconds": round(seconds, 3),
    }


def _line(record: Record) -> str:
    how = f"tiles of {record['tile']} pixels" if record["tile"] else "in one piece"
    return f"{record['output']}: {record['model']} {record['weights']}, {how}, {record['seconds']:.1f} s"
