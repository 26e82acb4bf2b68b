"""Restorers on stored pairs: every image restored, measured, and set beside the image as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gendeg_core.dataset.pairs import PairReader, StoredPair, spelled
from gendeg_core.metrics.choice import Metrics
from gendeg_core.metrics.fidelity import as_stored
from gendeg_core.metrics.summary import INPUT, UNKNOWN, ImageRow
from gendeg_core.restore.infer import Restored, restore_steps

if TYPE_CHECKING:
    from gendeg_core.restore.loading import Restorer

Features = Callable[[Tensor], np.ndarray]


def evaluate(
    pairs: PairReader,
    restorers: Sequence[Restorer],
    metrics: Metrics,
    *,
    tile: int | None = None,
    root: Path | None = None,
    first: int = 0,
) -> Iterator[ImageRow]:
    """Rows of every pair in order: the degraded input first, then each restorer.

    Restored images are rounded to 8 bits before they are measured, as files would be.

    Args:
        tile: side of the tiles in pixels, 0 for one piece, None to let the size decide.
        root: files below this folder are named from there.
        first: number of the pair to begin with.

    Raises:
        PairsError: a pair cannot be read.
        ValueError: a tile that cannot be used.
    """
    for pair in (pairs[k] for k in range(first, len(pairs))):
        clean, degraded = (_image(pair[side]) for side in ("target", "degraded"))
        name = _named(pair["name"], root)
        known: dict[Features, np.ndarray] = {}  # of the clean image, the same for every restorer
        yield replace(_row(pair, degraded, clean, metrics, known), name=name)
        for restorer in restorers:
            result = _restored(restorer, degraded, tile)
            yield replace(_row(pair, as_stored(result.image), clean, metrics, known, result), name=name)


def group_of(name: str) -> str:
    """The set that a stored pair belongs to: for a file of .../SET/lq/..., SET; "" for anything else.

    A folder that is there only to say the degradation is no set: haze/lq/1.png belongs to "".
    """
    parts = PurePath(name).parts
    if "lq" not in parts[1:-1]:
        return ""
    last = len(parts) - 1 - parts[::-1].index("lq")
    above, folder = parts[max(last - 2, 0)], parts[last - 1]
    return "" if spelled(folder) is not None and spelled(above) is None else folder


def _named(name: str, root: Path | None) -> str:
    path = PurePath(name)
    return path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else name


def _restored(restorer: Restorer, degraded: Tensor, tile: int | None) -> Restored:
    for item in restore_steps(restorer, degraded, tile=tile):
        if isinstance(item, Restored):
            return item
    raise AssertionError("the steps end with the result")


def _image(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) to (3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float() / 255


def _row(
    pair: StoredPair,
    image: Tensor,
    clean: Tensor,
    metrics: Metrics,
    known: dict[Features, np.ndarray],
    result: Restored | None = None,
) -> ImageRow:
    """`image` measured against `clean`; `result` tells where it came from, None for the degraded input."""
    height, width = clean.shape[-2:]
    values = {
        metric.column.name: metric.compute(image, clean) if min(height, width) >= metric.smallest else None
        for metric in metrics.pairs
    }
    here: dict[Features, np.ndarray] = {}
    for metric in metrics.sets:
        for found, of in ((here, image), (known, clean)):
            if metric.features not in found:
                found[metric.features] = metric.features(of)
    return ImageRow(
        name=pair["name"],
        degradation=pair["degradation"] or UNKNOWN,
        group=group_of(pair["name"]),
        model=result.model if result else INPUT,
        weights=result.weights if result else "",
        width=width,
        height=height,
        tile=result.tile if result else None,
        seconds=result.seconds if result else 0.0,
        values=values,
        features={m.column.name: (here[m.features], known[m.features]) for m in metrics.sets},
    )
