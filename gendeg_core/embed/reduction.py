"""Embeddings to a few plain coordinates: the common first step of maps, overlap numbers and figures.

CLIP embeddings are compared by the angle between them, so "cosine" scales every row to length one; the
nearest neighbours by Euclidean distance are then those by angle. PCA keeps what varies most.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Literal["cosine", "euclidean"]
Array = NDArray[np.float64]


def as_rows(embeddings: ArrayLike, what: str = "embeddings") -> Array:
    """The embeddings as finite float64 numbers, (N, D).

    Raises:
        ValueError: another number of dimensions, none at all, or numbers that are not finite.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"{what} have shape {rows.shape}; give one row of numbers per photo, (N, D)")
    if not np.isfinite(rows).all():
        wrong = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"row {wrong} of the {what} holds a number that is not finite; embed it again")
    return rows


class Reduction:
    """Length one per row (cosine), then PCA; fitted once, applied to any further rows.

    Args:
        embeddings: (N, D).
        components: how many to keep; fewer when N or D allow no more.

    Raises:
        ValueError: unusable embeddings or an unknown metric.
    """

    def __init__(self, embeddings: ArrayLike, *, components: int = 50, metric: Metric = "cosine") -> None:
        if metric not in get_args(Metric):
            raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(get_args(Metric))}")
        if components < 1:
            raise ValueError(f"components={components} keeps nothing; choose 1 or more")
        self.metric: Metric = metric
        rows = self._scaled(as_rows(embeddings))
        self._mean = rows.mean(axis=0)
        # A singular value decomposition in full: no random start, so the same rows give the same axes.
        _, strengths, axes = np.linalg.svd(rows - self._mean, full_matrices=False)
        kept = min(components, len(axes), max(1, len(rows) - 1))
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        self._axes = (axes * np.where(signs == 0, 1, signs)[:, None])[:kept]
        total = float((strengths**2).sum())
        self.explained = float((strengths[:kept] ** 2).sum()) / total if total else 1.0

    def __call__(self, embeddings: ArrayLike) -> Array:
        """The coordinates of some rows, (M, components)."""
        rows = as_rows(embeddings)
        if rows.shape[1] != len(self._mean):
            raise ValueError(
                f"embeddings of {rows.shape[1]} numbers do not fit a map made from {len(self._mean)}; "
                "embed all photos with the same weights"
            )
        return (self._scaled(rows) - self._mean) @ self._axes.T

    def _scaled(self, rows: Array) -> Array:
        if self.metric == "euclidean":
            return rows
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0, lengths, 1)
