"""Pairs as folders lq (degraded) and gt (clean), whose file names are equal or tell who belongs to whom."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from gendeg_core.dataset.pairs import PairEntry, PairReader, PairsError, spelled
from gendeg_core.images import READABLE
from gendeg_core.types import Degradation

# Words in a file name that say which side of a pair it is, and nothing about which pair.
_SIDES = {"gt", "hq", "lq", "clean", "clear", "sharp", "normal", "high", "target", "groundtruth", "norain"}
_SIDES |= {"input", "degraded", "rain", "haze", "hazy", "snow", "blur", "low", "dark", "drop", "raindrop"}


class FolderPairs(PairReader):
    """Every pair of one or several lq/gt folders, sorted by folder and name.

    Args:
        folders: each holds lq and gt, and comes with its degradation, None for an unknown one.

    Raises:
        PairsError: a degraded image has no partner, or several.
    """

    def __init__(self, folders: Iterable[tuple[Path, Degradation | None]]) -> None:
        self._pairs: list[tuple[Path, str, str, Degradation | None]] = []
        for folder, degradation in folders:
            degraded, clean = (_images(folder / side) for side in ("lq", "gt"))
            partners = match_names(degraded, clean, folder)
            self._pairs += [(folder, partners[name], name, degradation) for name in degraded]

    def __len__(self) -> int:
        return len(self._pairs)

    def entry(self, k: int) -> PairEntry:
        folder, target, degraded, degradation = self._pairs[k]
        path = folder / "lq" / degraded
        return PairEntry(str(path), folder / "gt" / target, path, degradation)


def lq_gt_folders(path: Path) -> list[Path]:
    """`path` itself or the folders below it that hold lq and gt, sorted."""
    found = []
    for folder, below, _ in os.walk(path):
        if {"lq", "gt"} <= set(below):
            found.append(Path(folder))
            below[:] = [name for name in below if name not in ("lq", "gt")]
    return sorted(found)


def degradation_of(folder: Path, root: Path) -> Degradation | None:
    """The degradation that `folder`, or the next folder above it up to `root`, is named after, if any is."""
    parts = [*reversed(folder.relative_to(root).parts), root.resolve().name]
    return next((kind for part in parts if (kind := spelled(part)) is not None), None)


def match_names(degraded: list[str], clean: list[str], folder: Path) -> dict[str, str]:
    """Degraded file to clean file: the same name, the same stem, a stem that the other begins with
    (12_0.9_0.2 belongs to 12), or the same name but for words such as rain and norain.

    Raises:
        PairsError: a degraded file has no partner, or more than one by the same rule.
    """
    exact = set(clean)
    by_stem = _grouped((Path(name).with_suffix("").as_posix(), name) for name in clean)
    by_rest = _grouped((_rest(name), name) for name in clean)
    partners = {}
    for name in degraded:
        stem = Path(name).with_suffix("").as_posix()
        starts = [stem[: m.start()] for m in re.finditer(r"[^0-9A-Za-z/]", stem)][::-1]  # longest first
        rules = [by_stem.get(start, []) for start in (stem, *starts)] + [by_rest.get(_rest(name), [])]
        found = [name] if name in exact else next((names for names in rules if names), [])
        if not found:
            raise PairsError(f"{folder / 'lq' / name} has no partner in gt; add it or remove the file")
        if len(found) > 1:
            raise PairsError(
                f"{folder / 'lq' / name} could belong to {found[0]} or {found[1]} in gt; use equal names"
            )
        partners[name] = found[0]
    return partners


def _rest(name: str) -> str:
    """What is left of a name without the words for its side."""
    tokens = re.findall(r"[a-z]+|\d+|/", Path(name).with_suffix("").as_posix().lower())
    return " ".join(token for token in tokens if token not in _SIDES)


def _grouped(items: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in items:
        groups.setdefault(key, []).append(name)
    return groups


def _images(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in READABLE)
    return sorted(path.relative_to(folder).as_posix() for path in paths if not path.name.startswith("."))
