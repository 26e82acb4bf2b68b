"""Which file becomes which: a source (file or folder tree) and a destination to a list of jobs.

Only folders are listed here, nothing is read or written: unusable arguments are refused before any work.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gendeg_core.commands import UsageError, say


@dataclass(frozen=True)
class Job:
    """One photo to degrade.

    Args:
        item: path inside the source folder, with forward slashes; None when the source is a single file.
    """

    source: Path
    output: Path
    item: str | None


def plan_jobs(source: Path, destination: str, report: Callable[[str], None]) -> list[Job]:
    """The jobs of one command, sorted by path; how many files of a folder are left out is said.

    Args:
        destination: as typed, since a slash at its end makes it a folder.
        report: takes a sentence for each folder that cannot be listed.

    Raises:
        UsageError: nothing to read, an output no format fits, or a photo that would be overwritten.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist; check the spelling")
    jobs = _folder(source, Path(destination), report) if source.is_dir() else [_file(source, destination)]
    inputs = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.output.resolve() in inputs:
            raise UsageError(
                f"{job.output} is itself a source photo and would be overwritten; choose another --output"
            )
    return jobs


def _file(source: Path, destination: str) -> Job:
    from gendeg_core.images import ImageError
    from gendeg_core.images.write import check_writable

    output = Path(destination)
    if destination.endswith(("/", os.sep)) or output.is_dir():
        output = output / writable_name(source.name)
    try:
        check_writable(output)
    except ImageError as error:
        raise UsageError(str(error)) from None
    return Job(source, output, None)


def _folder(source: Path, destination: Path, report: Callable[[str], None]) -> list[Job]:
    from gendeg_core.images import READABLE

    if destination.exists() and not destination.is_dir():
        raise UsageError(f"{destination} is a file, but {source} is a folder; name a folder for --output")
    if destination.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--output {destination} lies inside {source}; choose a folder outside of it")
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    others: Counter[str] = Counter()
    for path in sorted(_walk(source, report)):
        if path.suffix.lower() not in READABLE:
            others[path.suffix.lower() or "no ending"] += 1
            continue
        inside = path.relative_to(source)
        output = destination / inside.with_name(writable_name(path.name))
        if output in taken:
            raise UsageError(f"{taken[output]} and {path} would both become {output}; rename one of them")
        taken[output] = path
        jobs.append(Job(path, output, inside.as_posix()))
    if not jobs:
        raise UsageError(f"there is no image in {source}; looked for {', '.join(READABLE)}")
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common())
        say(f"left out of {source}, as only {', '.join(READABLE)} are read: {kinds}")
    return jobs


def _walk(source: Path, report: Callable[[str], None]) -> list[Path]:
    """All files below `source`; hidden ones (previews, half-written files) are left out."""
    files: list[Path] = []

    def unlisted(error: OSError) -> None:
        report(f"{error.filename} cannot be listed: {error.strerror}")

    for folder, folders, names in os.walk(source, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return files


def writable_name(name: str) -> str:
    """`name`, with .png added when its own format cannot keep the settings: "a.bmp" becomes "a.bmp.png"."""
    from gendeg_core.images import WRITABLE

    return name if Path(name).suffix.lower() in WRITABLE else f"{name}.png"
