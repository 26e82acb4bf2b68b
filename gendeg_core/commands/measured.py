"""What an evaluation has measured so far, in a file beside its table: a killed run loses one pair at most."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gendeg_core.dataset.pairs import PairEntry, PairReader
from gendeg_core.metrics.summary import ImageRow


class Measured:
    """Rows of finished pairs, in order, one line of JSON for each.

    Args:
        path: of the file; its folder is made when the first pair is added.
        settings: all that rows depend on besides the images. Rows of other settings are not taken over.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._head = json.dumps({"settings": settings}, sort_keys=True)

    def __len__(self) -> int:
        """How many pairs the file says are finished, under whatever settings."""
        return max(len(self._lines()) - 1, 0)

    def take(self, pairs: PairReader) -> list[list[ImageRow]]:
        """Rows of the first pairs, as far as settings and images are the same; forgets all others."""
        head, *lines = self._lines() or [""]
        taken: list[list[ImageRow]] = []
        if head == self._head:
            for k, line in zip(range(len(pairs)), lines, strict=False):
                stored = json.loads(line)
                if stored["images"] != _digest(pairs.entry(k)):
                    break
                taken.append([_row(record) for record in stored["rows"]])
        if self.path.exists():
            kept = [self._head, *lines[: len(taken)]]
            part = self.path.with_name(f".{self.path.name}.part")
            part.write_text("".join(f"{line}\n" for line in kept))
            os.replace(part, self.path)  # a kill here must not cost what is measured
        return taken

    def add(self, entry: PairEntry, rows: Sequence[ImageRow]) -> None:
        """Append all rows of one pair."""
        line = json.dumps({"images": _digest(entry), "rows": [_record(row) for row in rows]})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a") as file:
            file.write(f"{self._head}\n{line}\n" if new else f"{line}\n")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        """Whole lines only: a killed run may have left half of one."""
        if not self.path.exists():
            return []
        *whole, _ = self.path.read_text().split("\n")
        return whole


def _digest(entry: PairEntry) -> str:
    """Of the name and of both images as they are stored."""
    digest = hashlib.sha256(entry.name.encode())
    for image in (entry.target, entry.degraded):
        digest.update(image.read_bytes() if isinstance(image, Path) else image)
    return digest.hexdigest()


def _record(row: ImageRow) -> dict[str, Any]:
    features = {name: [_as_text(array) for array in both] for name, both in row.features.items()}
    return {**asdict(row), "features": features}


def _row(record: dict[str, Any]) -> ImageRow:
    features = {name: (_array(one), _array(other)) for name, (one, other) in record["features"].items()}
    return ImageRow(**{**record, "features": features})


def _as_text(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()


def _array(text: str) -> np.ndarray:
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
