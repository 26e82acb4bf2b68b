"""Linear probes: how much of the truth a linear read-out finds in embeddings, on photos it has not seen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gendeg_core.embed.reduction import as_rows

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

STRENGTHS = np.logspace(-4, 4, 9)  # of the regularisation, chosen on the training part alone


@dataclass(frozen=True)
class ClassProbe:
    """A linear classifier of degradations on the held-out part.

    Args:
        confusion: `confusion[true][predicted]`, counts of held-out photos; both in the order of `names`.
    """

    accuracy: float
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    trained: int
    held_out: int


@dataclass(frozen=True)
class ValueProbe:
    """A linear read-out of a number, such as mu, on the held-out part.

    Args:
        r2: share of its variance explained; below 0 is worse than the mean.
        spearman: correlation of ranks, -1 to 1.
        spearman_within: the same among the photos of one degradation, by its name.
    """

    r2: float
    spearman: float
    spearman_within: dict[str, float]
    trained: int
    held_out: int


def probe_classes(
    embeddings: ArrayLike,
    names: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    held_out: float = 0.3,
    seed: int = 0,
) -> ClassProbe:
    """How well a linear classifier tells the names (degradations) apart.

    Args:
        embeddings: (N, D).
        groups: the clean photo behind each; all versions of a photo then stay on one side of the split.
        held_out: share of the groups that the classifier never sees.
        seed: of the split.

    Raises:
        ValueError: lengths that do not fit, a single name, or a name missing on one side of the split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, truth = _checked(embeddings, names), np.asarray(names)
    known = tuple(sorted(set(names)))
    if len(known) < 2:
        raise ValueError(f"a probe tells names apart, but all are {names[0]!r}; give two or more")
    train, test = _split(len(rows), groups, held_out, seed)
    if missing := sorted(set(known) - set(truth[train].tolist())):
        raise ValueError(f"no photo of {missing[0]!r} is left to learn from; give more photos")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    predicted = model.fit(rows[train], truth[train]).predict(rows[test])
    return ClassProbe(
        accuracy=float((predicted == truth[test]).mean()),
        names=known,
        confusion=confusion(truth[test].tolist(), predicted.tolist(), known),
        trained=len(train),
        held_out=len(test),
    )


def probe_value(
    embeddings: ArrayLike,
    values: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
    held_out: float = 0.3,
    seed: int = 0,
) -> ValueProbe:
    """How well a number such as mu can be read off the embeddings by ridge regression.

    Args:
        embeddings: (N, D).
        values: (N,).
        names: degradation of each, for the correlations within one degradation.
        groups: as in `probe_classes`.

    Raises:
        ValueError: lengths that do not fit, or values that are not finite or all equal.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = np.asarray(values, dtype=np.float64)
    rows = _checked(embeddings, truth)
    if not np.isfinite(truth).all() or np.ptp(truth) == 0:
        raise ValueError("values must be finite numbers that differ; leave out the photos without one")
    train, test = _split(len(rows), groups, held_out, seed)
    model = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS))
    read = model.fit(rows[train], truth[train]).predict(rows[test])
    of_test = np.asarray(names)[test] if names is not None else np.array([])
    within = {str(name): np.flatnonzero(of_test == name) for name in sorted(set(of_test.tolist()))}
    return ValueProbe(
        r2=_r2(truth[test], read),
        spearman=_spearman(truth[test], read),
        spearman_within={
            name: _spearman(truth[test][at], read[at])
            for name, at in within.items()
            if len(at) > 2 and np.ptp(truth[test][at]) > 0
        },
        trained=len(train),
        held_out=len(test),
    )


def confusion(
    truth: Sequence[str], predicted: Sequence[str], names: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Counts `[true][predicted]` in the order of `names`.

    Raises:
        ValueError: a name that is not among them.
    """
    place = {name: at for at, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for true, said in zip(truth, predicted, strict=True):
        if true not in place or said not in place:
            unknown = true if true not in place else said
            raise ValueError(f"{unknown!r} is not among the names {', '.join(names)}")
        counts[place[true], place[said]] += 1
    return tuple(tuple(int(count) for count in row) for row in counts)


def _checked(embeddings: ArrayLike, truth: Sequence[str] | Array) -> Array:
    rows = as_rows(embeddings)
    if len(truth) != len(rows):
        raise ValueError(f"{len(truth)} labels for {len(rows)} embeddings; give one per photo")
    return rows


def _split(
    count: int, groups: Sequence[Hashable] | None, held_out: float, seed: int
) -> tuple[Indices, Indices]:
    """Indices to learn from and indices held out; a group is never on both sides."""
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out} is outside 0 to 1; choose a share inside")
    keys = list(groups) if groups is not None else list(range(count))
    if len(keys) != count:
        raise ValueError(f"{len(keys)} groups for {count} embeddings; give one per photo")
    places = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    number = round(held_out * len(places))
    if number < 1 or number == len(places):
        raise ValueError(f"{len(places)} groups cannot be parted at held_out={held_out}; give more photos")
    aside = np.zeros(len(places), dtype=bool)
    aside[np.random.default_rng(seed).permutation(len(places))[:number]] = True
    of_row = aside[[places[key] for key in keys]]
    return np.flatnonzero(~of_row), np.flatnonzero(of_row)


def _spearman(truth: Array, read: Array) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(truth), rankdata(read))[0, 1])


def _r2(truth: Array, read: Array) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - read) ** 2).sum()) / spread if spread else 0.0
