"""Intervals: close to theory, the same for the same seed, paired for the same images."""

from __future__ import annotations

import numpy as np
import pytest

from gendeg_core.metrics.bootstrap import mean_interval, resampled_means


def test_interval_is_that_of_theory_for_many_values() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=400)
    found = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for k in range(200):
        found = mean_interval(rng.exponential(1.0, size=40), seed=k)
        held += found.low <= 1.0 <= found.high
    assert 0.86 <= held / 200 <= 0.98


def test_seed_and_key_decide_which_images_are_drawn() -> None:
    values = np.arange(10.0)
    first = resampled_means(values, "haze/a", seed=3)
    assert np.array_equal(first, resampled_means(values, "haze/a", seed=3))
    assert not np.array_equal(first, resampled_means(values, "haze/a", seed=4))
    assert not np.array_equal(first, resampled_means(values, "rain/a", seed=3))
    np.testing.assert_allclose(resampled_means(values + 2, "haze/a", seed=3), first + 2)  # paired


def test_one_value_has_no_interval_and_none_is_an_error() -> None:
    found = mean_interval(np.array([3.0]))
    assert found.mean == 3
    assert np.isnan([found.low, found.high]).all()
    with pytest.raises(ValueError, match="no value to average"):
        mean_interval(np.array([]))
