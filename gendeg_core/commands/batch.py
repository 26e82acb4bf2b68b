"""What commands that turn photos into photos share: one after another, told about, skipped when finished."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gendeg_core.commands import one_line, say
from gendeg_core.commands.plan import Job

Record = dict[str, Any]
Work = Callable[[Job, Callable[[float], None]], Record]  # the job, and how to show the part done, 0 to 1


def run_jobs(jobs: list[Job], failures: list[str], work: Work, tell: Callable[[Record], str]) -> int:
    """Carry out `work` on every job; returns the exit status 0, 1 or 130.

    Args:
        failures: sentences already told; a job's failure is added, and the others go on.
        work: makes one photo and returns its record.
        tell: the line for standard output.
    """
    from tqdm import tqdm

    done = 0
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=len(jobs), disable=not sys.stderr.isatty(), bar_format=layout, leave=False) as bar:

        def show(part: float) -> None:
            bar.set_description_str(f"{done} of {len(jobs)} photos done", refresh=False)
            bar.n = index + part
            bar.refresh()

        try:
            for index, job in enumerate(jobs):  # noqa: B007 - the bar reads it
                show(0)
                record = _attempt(work, job, show, failures)
                if record is not None:
                    done += 1
                    tqdm.write(tell(record), file=sys.stdout)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            say(f"interrupted: {done} of {len(jobs)} photos done; repeat the command to go on")
            return 130
    if failures:
        say(f"{done} of {len(jobs)} photos done; see above for what failed")
    return 1 if failures else 0


def _attempt(work: Work, job: Job, show: Callable[[float], None], failures: list[str]) -> Record | None:
    """The record of one photo, or None after its failure was told."""
    from gendeg_core.images import ImageError

    try:
        return work(job, show)
    except ImageError as error:  # names the file itself
        sentence = str(error)
    except (
        ValueError,
        OSError,
        RuntimeError,
        MemoryError,
    ) as error:  # torch: RuntimeError if memory is short
        sentence = one_line(error)
        if str(job.source) not in sentence:
            sentence = f"{job.source}: {sentence}"
    report(sentence, failures)
    return None


def report(sentence: str, failures: list[str]) -> None:
    """Tell a failure and keep it for the exit status."""
    failures.append(sentence)
    say(sentence)


def finished_settings(job: Job, asked: Record, obtained: Iterable[str]) -> Record | None:
    """The settings inside the output when it is whole and was made from the same photo with the same ones.

    Args:
        asked: what they must say.
        obtained: what they must hold besides.
    """
    from gendeg_core.images import ImageError, read_settings
    from gendeg_core.images.opening import check_decodes

    if not job.output.is_file():
        return None
    try:
        stored = read_settings(job.output)
        if stored is None or any(key not in stored or stored[key] != asked[key] for key in asked):
            return None
        check_decodes(job.output)
    except ImageError:  # a damaged output is made again
        return None
    return stored if set(obtained) <= set(stored) else None


def digest(path: Path) -> str:
    """Name of a photo's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def json_line(record: Record) -> str:
    return json.dumps(record)
