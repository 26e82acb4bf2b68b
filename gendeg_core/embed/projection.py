"""The map: embeddings to points in the plane by PCA and t-SNE (van der Maaten and Hinton, 2008).

`project` is an iterator of frames: the caller shows each as progress and stops by no longer asking.
openTSNE (Policar et al., 2024) steps through the optimisation; scikit-learn's t-SNE runs the same features
from the same start in one go and serves as the reference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gendeg_core.embed.reduction import Metric, Reduction, as_rows

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

Engine = Literal["opentsne", "sklearn"]
Points = NDArray[np.float32]

FEWEST = 5  # points of a map
STRIDE = 10  # iterations per frame; fixed, since rounding makes the map depend on it
EXAGGERATION = 12.0
PERPLEXITY = 30.0
GRID_FROM = 2000  # points from which repulsion on a grid is faster than with a tree
FORMAT = 1  # of cached coordinates; another number forgets those of before


@dataclass(frozen=True)
class MapSettings:
    """How a map is made.

    Args:
        perplexity: about how many neighbours a point listens to; None: 30, or what few points allow.
        metric: what makes neighbours: the angle between embeddings, or their distance.
        components: principal components that t-SNE sees.
        early: iterations with exaggerated attraction, which put the clusters in their places.
        iterations: iterations after that.
        seed: of the jitter that parts equal embeddings; with it the map is the same twice.
        engine: openTSNE, or scikit-learn for comparison.

    Raises:
        ValueError: a number out of its range or an unknown name.
    """

    perplexity: float | None = None
    metric: Metric = "cosine"
    components: int = 50
    early: int = 150
    iterations: int = 350
    seed: int = 0
    engine: Engine = "opentsne"

    def __post_init__(self) -> None:
        if self.perplexity is not None and not 1 <= self.perplexity <= 500:
            raise ValueError(f"perplexity={self.perplexity} is outside 1 to 500; choose a value inside")
        for name in ("components", "early", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} is outside 0 to 2**32 - 1; choose a value inside")
        for name, choices in (("metric", get_args(Metric)), ("engine", get_args(Engine))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; choose one of {', '.join(choices)}"
                )

    def perplexity_for(self, count: int) -> float:
        """The perplexity for that many points.

        Raises:
            ValueError: too few points for a map, or for the perplexity that was chosen.
        """
        if count < FEWEST:
            raise ValueError(f"a map needs {FEWEST} photos or more, got {count}; add some")
        most = (count - 1) / 3  # three neighbours per unit of perplexity
        if self.perplexity is None:
            return min(PERPLEXITY, most)
        if self.perplexity > most:
            raise ValueError(
                f"perplexity={self.perplexity} is too large for {count} photos; choose {int(most)} or less"
            )
        return self.perplexity


@dataclass(frozen=True)
class Frame:
    """The map after `done` of `total` iterations; it is complete when the two are equal."""

    done: int
    total: int
    points: Points  # (N, 2), the middle of its extent at the origin


def project(
    embeddings: ArrayLike,
    settings: MapSettings | None = None,
    *,
    threads: int = 1,
    cache: Path | None = None,
) -> Iterator[Frame]:
    """Make a map step by step; the last frame is the finished one.

    Args:
        embeddings: (N, D).
        threads: of openTSNE; the map does not depend on it.
        cache: folder where finished maps are kept by the content of embeddings and settings; a known map
            arrives as one single frame.

    Raises:
        ValueError: embeddings that cannot be mapped, or settings that do not fit their number; raised here
            and not at the first frame.
    """
    settings = settings or MapSettings()
    rows = as_rows(embeddings)
    settings.perplexity_for(len(rows))
    kept = cache / f"{map_key(rows, settings)}.npy" if cache else None
    total = settings.early + settings.iterations
    if kept and kept.is_file():
        return iter([Frame(total, total, np.load(kept, allow_pickle=False))])
    frames = _opentsne(rows, settings, threads) if settings.engine == "opentsne" else _sklearn(rows, settings)
    return _keeping(frames, kept) if kept else frames


def map_key(embeddings: ArrayLike, settings: MapSettings) -> str:
    """A name for the map of these embeddings with these settings: hex digits of a content hash."""
    rows = as_rows(embeddings)
    digest = hashlib.sha256(json.dumps([FORMAT, rows.shape, asdict(settings)]).encode())
    digest.update(rows.tobytes())
    return digest.hexdigest()[:32]


class PlacedMap:
    """A finished or stopped map on which further photos find their place.

    Each is drawn to its nearest neighbours among the mapped photos and pushed by all of them; it moves none,
    and new photos do not see each other.

    Args:
        embeddings: (N, D), those the map was made from.
        points: (N, 2), a frame's points.
        settings: those of the map.
    """

    def __init__(self, embeddings: ArrayLike, points: ArrayLike, settings: MapSettings | None = None) -> None:
        self.settings = settings or MapSettings()
        self.embeddings = as_rows(embeddings)
        self.points = np.array(points, dtype=np.float32)
        if self.points.shape != (len(self.embeddings), 2):
            raise ValueError(
                f"points have shape {self.points.shape} for {len(self.embeddings)} embeddings; give (N, 2)"
            )

    def place(self, new: ArrayLike) -> Points:
        """Where some further embeddings, (M, D), fall: (M, 2)."""
        reduction, reference = self._reference
        partial = reference.prepare_partial(
            reduction(new), initialization="median", k=min(25, len(self.points)), perplexity=self._perplexity
        )
        partial.optimize(
            250, inplace=True, learning_rate=0.1, exaggeration=1.5, momentum=0.8, max_grad_norm=0.25
        )
        return np.asarray(partial, dtype=np.float32) + self._middle.astype(np.float32)

    @property
    def _perplexity(self) -> float:
        return min(5.0, len(self.points) / 3)

    @cached_property
    def _middle(self) -> NDArray[np.float64]:
        return (self.points.max(axis=0) + self.points.min(axis=0)).astype(np.float64) / 2

    @cached_property
    def _reference(self) -> tuple[Reduction, TSNEEmbedding]:
        reduction = _reduction(self.embeddings, self.settings)
        affinities = _affinities(reduction(self.embeddings), self.settings, threads=1)
        return reduction, _embedding(self.points.astype(np.float64) - self._middle, affinities, threads=1)


def _opentsne(rows: NDArray[np.float64], settings: MapSettings, threads: int) -> Iterator[Frame]:
    features = _reduction(rows, settings)(rows)
    moving = _embedding(_start(features, settings.seed), _affinities(features, settings, threads), threads)
    phases = ((settings.early, EXAGGERATION), (settings.iterations, 1.0))
    done, total = 0, settings.early + settings.iterations
    for iterations, exaggeration in phases:
        for begun in range(0, iterations, STRIDE):
            steps = min(STRIDE, iterations - begun)
            # The embedding carries its momentum along, so many short runs are one long run.
            moving.optimize(steps, inplace=True, exaggeration=exaggeration, momentum=0.8)
            done += steps
            yield Frame(done, total, _centred(np.asarray(moving)))


def _sklearn(rows: NDArray[np.float64], settings: MapSettings) -> Iterator[Frame]:
    from sklearn.manifold import TSNE

    features = _reduction(rows, settings)(rows)
    total = settings.early + settings.iterations
    tsne = TSNE(
        perplexity=settings.perplexity_for(len(rows)),
        early_exaggeration=EXAGGERATION,
        init=_start(features, settings.seed).astype(np.float32),  # pyright: ignore[reportArgumentType]
        max_iter=max(250, total),  # it explores for 250 iterations and accepts no fewer
        random_state=settings.seed,
        n_jobs=1,
    )
    yield Frame(total, total, _centred(tsne.fit_transform(features)))


def _keeping(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    """The same frames; the finished map is stored, under its name only once it is whole."""
    for frame in frames:
        if frame.done == frame.total:
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_name(f".{path.stem}.{os.getpid()}.npy")
            np.save(half, frame.points)
            half.replace(path)
        yield frame


def _reduction(rows: NDArray[np.float64], settings: MapSettings) -> Reduction:
    return Reduction(rows, components=settings.components, metric=settings.metric)


def _affinities(features: NDArray[np.float64], settings: MapSettings, threads: int) -> PerplexityBasedNN:
    from openTSNE.affinity import PerplexityBasedNN

    perplexity = settings.perplexity_for(len(features))
    return PerplexityBasedNN(
        features,
        perplexity=perplexity,  # pyright: ignore[reportArgumentType]
        method="exact",
        n_jobs=threads,
    )


def _embedding(points: NDArray[np.float64], affinities: PerplexityBasedNN, threads: int) -> TSNEEmbedding:
    from openTSNE import TSNEEmbedding

    # Cells of the grid two units wide: as good a map as with one unit (KL within 2 %), in half the time.
    method = "fft" if len(points) >= GRID_FROM else "bh"
    return TSNEEmbedding(
        points, affinities, negative_gradient_method=method, ints_in_interval=2, n_jobs=threads
    )


def _start(features: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The first two principal components, tiny, with a jitter that parts equal photos: (N, 2)."""
    start = np.zeros((len(features), 2))
    plane = features[:, :2]
    start[:, : plane.shape[1]] = plane / (plane[:, 0].std() or 1.0) * 1e-4
    return start + np.random.default_rng(seed).normal(0, 1e-6, start.shape)


def _centred(points: NDArray[np.floating]) -> Points:
    return (points - (points.max(axis=0) + points.min(axis=0)) / 2).astype(np.float32)
