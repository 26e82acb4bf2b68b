"""The weights that ship with the project: each folder carries a record of how it was made and how good it is.

`python -m gendeg_core.weights` lists them and checks every file against its recorded SHA-256;
`python -m gendeg_core.weights record FOLDER RECORD.json` writes the record of a new folder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gendeg_core.paths import WEIGHTS

LIMIT_MB = 80  # all shipped weights together
RECORD = "record.json"


@dataclass(frozen=True)
class WeightsRecord:
    """How a set of weights came to be.

    Args:
        recipe: the commands that made it, in order.
        data: what it was trained on.
        hardware: what it was trained on, and for how long.
        samples: training images seen.
        quality: the report of the evaluation command, with that command.
        weak: where it is weak, in plain words.
        sha256: relative path of every weights file to its digest.
    """

    recipe: list[str]
    data: str
    hardware: str
    samples: int
    quality: dict[str, Any]
    weak: str
    sha256: dict[str, str] = field(default_factory=dict)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every safetensors file below `folder`, by relative path."""
    paths = sorted(folder.rglob("*.safetensors"))
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def folder_identity(folder: Path) -> str:
    """Name of the folder and the first 12 hex digits of the SHA-256 over its weights, in path order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{folder.name}@{digest.hexdigest()[:12]}"


def read_record(folder: Path) -> WeightsRecord:
    """The record of one folder of weights.

    Raises:
        OSError: there is none.
    """
    path = folder / RECORD
    if not path.is_file():
        raise OSError(f"{folder} has no {RECORD}; write one with python -m gendeg_core.weights record")
    return WeightsRecord(**json.loads(path.read_text()))


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Store `record` beside the weights it describes, with the digests of the files as they are now."""
    facts: dict[str, Any] = {**record, "sha256": digests(folder)}
    complete = WeightsRecord(**facts)
    (folder / RECORD).write_text(json.dumps(asdict(complete), indent=1) + "\n")


def shipped() -> list[Path]:
    """Folders of shipped weights."""
    return sorted(path for path in WEIGHTS.iterdir() if path.is_dir()) if WEIGHTS.is_dir() else []


def faults(folder: Path) -> list[str]:
    """What is wrong with a folder of weights compared with its record, one sentence each."""
    recorded, found = read_record(folder).sha256, digests(folder)
    return [
        f"{folder / name} differs from its record; restore the file or train and record again"
        for name in sorted(recorded.keys() | found.keys())
        if recorded.get(name) != found.get(name)
    ]


def main(arguments: list[str]) -> int:
    out = sys.stdout
    if arguments[:1] == ["record"] and len(arguments) == 3:
        write_record(Path(arguments[1]), json.loads(Path(arguments[2]).read_text()))
        return 0
    if arguments:
        out.write((__doc__ or "") + "\n")
        return 2
    wrong = []
    for folder in shipped():
        size = sum(p.stat().st_size for p in folder.rglob("*.safetensors")) / 1e6
        out.write(f"{folder.name}: {size:.1f} MB. Weak: {read_record(folder).weak}\n")
        wrong += faults(folder)
    out.writelines(f"{sentence}\n" for sentence in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
