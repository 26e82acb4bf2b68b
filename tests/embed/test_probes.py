"""Linear probes on embeddings whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from gendeg_core.embed.probes import confusion, probe_classes, probe_value

KINDS = ("haze", "rain", "snow")


def embedded(count: int = 240, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Embeddings (N, 10) with one axis per kind and one along which mu grows; the kinds; mu."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    mu = rng.uniform(0, 0.7, count)
    rows = noise * rng.normal(0, 1, (count, 10))
    rows[np.arange(count), kinds] += 3
    rows[:, 5] += 10 * mu
    return rows, [KINDS[kind] for kind in kinds], mu


def test_kinds_that_lie_apart_are_told_apart():
    rows, kinds, _ = embedded()
    found = probe_classes(rows, kinds)
    assert found.accuracy > 0.98
    assert found.names == KINDS
    assert (found.trained, found.held_out) == (168, 72)
    table = np.array(found.confusion)
    assert table.sum() == 72
    assert np.trace(table) / 72 == pytest.approx(found.accuracy)


def test_nothing_is_found_in_noise():
    rng = np.random.default_rng(1)
    _, kinds, mu = embedded(600)
    noise = rng.normal(0, 1, (600, 10))
    assert probe_classes(noise, kinds).accuracy == pytest.approx(1 / 3, abs=0.12)
    assert probe_value(noise, mu).r2 < 0.05


def test_mu_is_read_where_it_is():
    rows, kinds, mu = embedded()
    found = probe_value(rows, mu, names=kinds)
    # Noise of 0.3 over a signal of standard deviation 10 * 0.7 / sqrt(12): R2 = 1 - 0.09 / (4.08 + 0.09).
    assert found.r2 == pytest.approx(0.978, abs=0.012)
    assert found.spearman > 0.97
    assert set(found.spearman_within) == set(KINDS)
    assert min(found.spearman_within.values()) > 0.95


def test_the_correlation_within_a_kind_is_its_own():
    """mu that follows from the kind alone correlates over all photos and within none."""
    rows, kinds, _ = embedded(600)
    rows[:, 5] = 0
    rng = np.random.default_rng(2)
    mu = np.array([KINDS.index(kind) for kind in kinds]) + rng.uniform(0, 0.3, 600)
    found = probe_value(rows, mu, names=kinds)
    assert found.spearman > 0.85
    assert max(map(abs, found.spearman_within.values())) < 0.3


def test_a_photo_is_never_on_both_sides_of_the_split():
    """Embeddings that say which photo it is and nothing else: known photos are recalled, new ones are not."""
    rng = np.random.default_rng(3)
    photos = np.repeat(np.arange(40), 6)
    rows = np.eye(40)[photos] + 0.01 * rng.normal(0, 1, (240, 40))
    kinds = [("haze", "rain")[value] for value in rng.integers(0, 2, 40)[photos]]
    assert probe_classes(rows, kinds).accuracy > 0.95
    assert probe_classes(rows, kinds, groups=photos.tolist()).accuracy < 0.75
    mu = rng.random(40)[photos]
    assert probe_value(rows, mu).r2 > 0.95
    assert probe_value(rows, mu, groups=photos.tolist()).r2 < 0.2


def test_the_same_seed_gives_the_same_split():
    rows, kinds, mu = embedded(noise=2)
    assert probe_classes(rows, kinds, seed=1) == probe_classes(rows, kinds, seed=1)
    assert probe_value(rows, mu, seed=1) == probe_value(rows, mu, seed=1)
    assert probe_value(rows, mu, seed=1) != probe_value(rows, mu, seed=2)


def test_spearman_agrees_with_scipy():
    from scipy.stats import spearmanr

    from gendeg_core.embed.probes import _spearman

    rng = np.random.default_rng(4)
    a = rng.integers(0, 9, 50).astype(float)
    b = a + rng.normal(0, 3, 50)
    assert _spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_a_confusion_table_counts_truth_down_and_answers_across():
    table = confusion(["rain", "rain", "snow", "haze"], ["rain", "snow", "snow", "rain"], KINDS)
    assert table == ((0, 1, 0), (0, 1, 1), (0, 0, 1))
    with pytest.raises(ValueError, match="'fog' is not among the names haze, rain, snow"):
        confusion(["fog"], ["rain"], KINDS)


def test_what_no_probe_can_use():
    rows, kinds, mu = embedded(30)
    with pytest.raises(ValueError, match="29 labels for 30 embeddings"):
        probe_classes(rows, kinds[:-1])
    with pytest.raises(ValueError, match="all are 'haze'"):
        probe_classes(rows, ["haze"] * 30)
    with pytest.raises(ValueError, match="no photo of 'once' is left to learn from"):
        probe_classes(rows, ["once", *kinds[1:]], groups=[0] + [1 + i // 2 for i in range(29)], seed=_aside())
    with pytest.raises(ValueError, match="must be finite numbers that differ"):
        probe_value(rows, np.full(30, 0.2))
    with pytest.raises(ValueError, match="must be finite"):
        probe_value(rows, [np.nan, *mu[1:]])
    with pytest.raises(ValueError, match="1 groups cannot be parted"):
        probe_value(rows, mu, groups=["one photo"] * 30)
    with pytest.raises(ValueError, match="held_out=1.5"):
        probe_value(rows, mu, held_out=1.5)


def _aside() -> int:
    """A seed that holds the first of 16 groups out."""
    return next(seed for seed in range(99) if 0 in np.random.default_rng(seed).permutation(16)[:5])
