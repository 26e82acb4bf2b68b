"""Degradation map, mu, sigma, bins and the draws from the published histograms (GenDeg, section 3)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from gendeg_core.statistics import (
    BINS,
    MU_EDGES,
    NULL_BIN,
    SIGMA_EDGES,
    bin_index,
    degradation_map,
    draw_intensity,
    draw_mu_given_sigma,
    draw_sigma_given_mu,
    is_free,
    map_statistics,
    measure,
    measure_uint8,
    one_hot,
    published_histogram,
    to_uint8,
)
from gendeg_core.types import Degradation

ROOT = Path(__file__).parents[1]
TABLES = json.loads((ROOT / "assets/statistics/mu_sigma.json").read_text())["degradations"]
FINITE = st.floats(0, 1, width=32)


# --- the map, mu and sigma -------------------------------------------------------------------------------


def test_map_is_the_absolute_difference_per_channel():
    clean = torch.tensor([0.5, 0.2, 0.9]).reshape(3, 1, 1)
    degraded = torch.tensor([0.7, 0.2, 0.4]).reshape(3, 1, 1)
    torch.testing.assert_close(
        degradation_map(clean, degraded).flatten(), torch.tensor([0.2, 0.0, 0.5]), atol=1e-7, rtol=0
    )


def test_map_of_two_shapes_is_refused_with_both_named():
    with pytest.raises(ValueError, match=r"\(3, 4, 5\).*\(3, 5, 4\)"):
        degradation_map(torch.zeros(3, 4, 5), torch.zeros(3, 5, 4))


def test_statistics_worked_by_hand():
    # Twelve values: six 0.1, three 0.3, three 0.7. Mean 0.3; squared deviations 6 * 0.04 + 3 * 0.16 = 0.72;
    # 0.72 / 12 = 0.06. The sample deviation would be sqrt(0.72 / 11) = 0.2558 instead of 0.2449.
    values = torch.tensor([0.1] * 6 + [0.3] * 3 + [0.7] * 3).reshape(1, 3, 2, 2)
    mu, sigma = map_statistics(torch.cat([values, torch.full((1, 3, 2, 2), 0.25)]))
    torch.testing.assert_close(mu, torch.tensor([0.3, 0.25]), atol=1e-7, rtol=0)
    torch.testing.assert_close(sigma, torch.tensor([math.sqrt(0.06), 0.0]), atol=1e-7, rtol=0)


def test_sigma_mixes_space_and_channels():
    only_red = torch.tensor([0.9, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    mu, sigma = map_statistics(only_red)
    assert mu.item() == pytest.approx(0.3)
    assert sigma.item() == pytest.approx(0.3 * math.sqrt(2))  # nothing varies in space


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_statistics_agree_with_numpy(height: int, width: int, seed: int):
    difference = np.random.default_rng(seed).random((2, 3, height, width))
    mu, sigma = map_statistics(torch.from_numpy(difference))
    np.testing.assert_allclose(mu, difference.reshape(2, -1).mean(1), atol=1e-12)
    np.testing.assert_allclose(sigma, difference.reshape(2, -1).std(1), atol=1e-12)


# --- measured as published -------------------------------------------------------------------------------


def test_measuring_squashes_both_images_first():
    # 512 columns alternate black and white: squashed to 256 they are grey, like the other image.
    stripes = np.zeros((100, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    grey = np.full((40, 30, 3), 128, np.uint8)
    at_full_size = np.abs(stripes / 255 - 128 / 255).mean()
    mu, sigma = measure_uint8(stripes, grey)
    assert at_full_size == pytest.approx(0.5, abs=0.01)
    assert mu < 0.01
    assert sigma < 0.03


def test_measuring_equals_pillow_lanczos_in_float64():
    rng = np.random.default_rng(3)
    clean = rng.integers(0, 256, (61, 270, 3), np.uint8)
    degraded = rng.integers(0, 256, (128, 77, 3), np.uint8)
    small = [
        np.asarray(Image.fromarray(array).resize((256, 256), Image.Resampling.LANCZOS), np.float64) / 255
        for array in (clean, degraded)
    ]
    difference = np.abs(small[1] - small[0]).ravel()
    variance = np.mean(difference**2) - np.mean(difference) ** 2
    mu, sigma = measure_uint8(clean, degraded)
    assert mu == pytest.approx(difference.mean(), abs=1e-12)
    assert sigma == pytest.approx(math.sqrt(variance), abs=1e-9)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), FINITE, FINITE)
@example(1, 1, 1, 1, 0.0, 0.9)  # 229.5 in float32, as the pictures are, and a little less in float64
@settings(max_examples=25, deadline=None)
def test_flat_images_of_any_two_sizes(h1: int, w1: int, h2: int, w2: int, a: float, b: float):
    mu, sigma = measure(torch.full((3, h1, w1), a), torch.full((3, h2, w2), b))
    first, second = (float(np.rint(np.float32(value) * np.float32(255))) for value in (a, b))
    assert mu == pytest.approx(abs(second - first) / 255, abs=1e-9)
    assert sigma == pytest.approx(0, abs=1e-9)


def test_an_image_measured_against_itself_is_zero():
    image = torch.rand(3, 33, 47, generator=torch.Generator().manual_seed(1))
    assert measure(image, image) == (0.0, 0.0)


def test_bytes_are_rounded_and_clamped():
    image = torch.tensor([-0.2, 0.5, 1.2, 0.0, 1.0, 100.6 / 255]).reshape(3, 1, 2)
    assert to_uint8(image).transpose(2, 0, 1).ravel().tolist() == [0, 128, 255, 0, 255, 101]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_picture_with_nan_is_never_measured(value: float):
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure(torch.zeros(3, 4, 4), image)


# --- bins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("edges", "top"), [(MU_EDGES, 0.7), (SIGMA_EDGES, 0.4)])
def test_bins_at_and_outside_the_edges(edges: np.ndarray, top: float):
    assert edges.dtype == np.float64
    assert len(edges) == BINS + 1
    assert edges[0] == 0
    assert edges[-1] == top
    assert bin_index(edges[:-1], edges).tolist() == list(range(BINS))  # left-closed
    just_below = np.nextafter(edges[1:], 0)
    assert bin_index(just_below, edges).tolist() == list(range(BINS))
    beyond = [top, np.nextafter(top, 1), 0.9, 1.0, math.inf]
    assert bin_index(np.array(beyond), edges).tolist() == [BINS - 1] * 5


def test_bins_of_plain_values():
    # Widths 0.7 / 128 = 0.00546875 and 0.4 / 128 = 0.003125.
    assert bin_index(0.2, MU_EDGES) == 36  # 0.2 / 0.00546875 = 36.57
    assert bin_index(0.1, SIGMA_EDGES) == 32  # exactly the lower edge of bin 32
    assert bin_index(0.0054, MU_EDGES) == 0


@pytest.mark.parametrize("value", [-1e-9, -1.0, math.nan])
def test_a_value_below_the_range_is_refused(value: float):
    with pytest.raises(ValueError, match=f"never negative or NaN, got {value}"):
        bin_index(np.array([0.1, value, 0.2]), MU_EDGES)
    with pytest.raises(ValueError, match="never negative or NaN"):
        bin_index(value, MU_EDGES)


@given(st.lists(st.integers(0, NULL_BIN), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_one_hot(indices: list[int]):
    rows = one_hot(np.array(indices))
    assert rows.shape == (len(indices), BINS + 1)
    assert rows.dtype == np.float32
    assert rows.argmax(1).tolist() == indices
    assert rows.sum(1).tolist() == [1.0] * len(indices)


def test_null_bin_is_the_129th_and_never_a_bin_of_a_value():
    assert NULL_BIN == 128
    assert one_hot(NULL_BIN).tolist() == [0.0] * 128 + [1.0]
    assert bin_index(1e9, MU_EDGES) < NULL_BIN
    for wrong in (-1, 129):
        with pytest.raises(ValueError, match=f"0 to 128, got {wrong}"):
            one_hot(np.array([wrong]))


# --- the published histograms ----------------------------------------------------------------------------


@pytest.mark.parametrize("degradation", Degradation)
def test_joint_table_pools_the_data_sets(degradation: Degradation):
    histogram = published_histogram(degradation)
    assert histogram.joint.shape == (BINS, BINS)
    assert (histogram.joint.sum(1) == sum(histogram.mu_counts.values())).all()
    assert (histogram.joint.sum(0) == sum(histogram.sigma_counts.values())).all()


def test_published_counts():
    pairs = {
        name: int(counts.sum())
        for d in Degradation
        for name, counts in published_histogram(d).mu_counts.items()
    }
    assert sum(len(published_histogram(d).mu_counts) for d in Degradation) == 21
    assert (pairs["RESIDE"], pairs["Snow100k"], pairs["SPAC"], pairs["LOLv2"]) == (71459, 49896, 3023, 547)


@pytest.mark.parametrize(
    ("degradation", "published"),
    [
        (
            Degradation.HAZE,
            {"CityscapesFog": 0.417, "RESIDE": 0.417, "I-HAZE": 0.104, "NH-HAZE": 0.042, "DenseHaze": 0.021},
        ),
        (Degradation.LOW_LIGHT, {"LOLv2": 0.833, "SID": 0.167}),
        (
            Degradation.RAIN,
            {"ORD": 0.038} | dict.fromkeys(["Rain13K", "Rain1400", "RainDS", "RealRain1k", "SPAC"], 0.192),
        ),
        (Degradation.SNOW, dict.fromkeys(["CSD", "CityscapesSnow", "Snow100k"], 0.333)),
        (Degradation.MOTION_BLUR, dict.fromkeys(["HIDE", "REDS", "RealBlur"], 0.333)),
        (Degradation.RAINDROP, dict.fromkeys(["RainDS", "Raindrop"], 0.5)),
    ],
)
def test_data_set_weights_as_published(degradation: Degradation, published: dict[str, float]):
    weights = published_histogram(degradation).dataset_weights
    assert weights == pytest.approx(published, abs=6e-4)
    assert sum(weights.values()) == pytest.approx(1)


def expected_joint(degradation: Degradation) -> np.ndarray:
    """(128, 128) probabilities of a draw, worked out from the file without the code under test."""
    raw = {"ORD": 0.2, "DenseHaze": 0.05, "NH-HAZE": 0.1, "I-HAZE": 0.25, "SID": 0.2}
    table = TABLES[degradation.value]
    total = sum(raw.get(name, 1.0) for name in table["datasets"])
    mu = sum(
        raw.get(name, 1.0) / total * np.array(data["mu"]) / sum(data["mu"])
        for name, data in table["datasets"].items()
    )
    sigma_given_mu = np.zeros((BINS, BINS))
    for mu_bin, sigma_bin, count in table["joint"]:
        sigma_given_mu[mu_bin, sigma_bin] = count
    sigma_given_mu /= np.maximum(sigma_given_mu.sum(1, keepdims=True), 1)
    return mu[:, None] * sigma_given_mu


def chi_square_p(observed: np.ndarray, expected: np.ndarray) -> float:
    """p of a chi-square test; cells that expect fewer than eight are pooled into one."""
    common = expected >= 8
    seen = np.append(observed[common], observed[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    return float(stats.chisquare(seen[wanted > 0], wanted[wanted > 0]).pvalue)


@pytest.mark.parametrize("degradation", Degradation)
def test_draws_reproduce_the_published_histogram(degradation: Degradation):
    """A joint table with its rows moved by one bin, or one data set weighed wrongly, fails this."""
    rng = np.random.default_rng(20)
    count = 6000
    drawn = [draw_intensity(degradation, rng) for _ in range(count)]
    mu_bins = bin_index(np.array([d.mu for d in drawn]), MU_EDGES)
    sigma_bins = bin_index(np.array([d.sigma for d in drawn]), SIGMA_EDGES)
    observed = np.zeros((BINS, BINS))
    np.add.at(observed, (mu_bins, sigma_bins), 1)
    expected = expected_joint(degradation) * count
    assert expected.sum() == pytest.approx(count)
    assert observed[expected == 0].sum() == 0
    assert chi_square_p(observed.sum(1), expected.sum(1)) > 0.001
    assert chi_square_p(observed.sum(0), expected.sum(0)) > 0.001
    assert chi_square_p(observed, expected) > 0.001
    names = [d.dataset for d in drawn]
    for name, weight in published_histogram(degradation).dataset_weights.items():
        assert names.count(name) / count == pytest.approx(weight, abs=0.025)


def test_draws_fill_their_bins_evenly():
    rng = np.random.default_rng(5)
    drawn = [draw_intensity(Degradation.SNOW, rng) for _ in range(3000)]
    assert not any(d.free for d in drawn)
    for values, edges in (([d.mu for d in drawn], MU_EDGES), ([d.sigma for d in drawn], SIGMA_EDGES)):
        inside = (np.array(values) / edges[1]) % 1
        assert stats.kstest(inside, "uniform").pvalue > 0.001


def test_free_draws_are_uniform_over_the_data_set_and_independent():
    rng = np.random.default_rng(6)
    drawn = [draw_intensity(Degradation.HAZE, rng, dataset="RESIDE", free=True) for _ in range(2000)]
    assert {(d.dataset, d.free) for d in drawn} == {("RESIDE", True)}
    mu, sigma = np.array([d.mu for d in drawn]), np.array([d.sigma for d in drawn])
    # RESIDE as published: mu bins 2 to 51, sigma bins 3 to 71.
    for values, low, high in ((mu, 2 * 0.7 / 128, 52 * 0.7 / 128), (sigma, 3 * 0.4 / 128, 72 * 0.4 / 128)):
        assert low <= values.min() < low + 0.001  # both ends are reached
        assert high - 0.001 < values.max() <= high
        assert stats.kstest(values, "uniform", args=(low, high - low)).pvalue > 0.001
    assert abs(np.corrcoef(mu, sigma)[0, 1]) < 0.08


def test_sigma_follows_the_row_of_mu():
    rng = np.random.default_rng(8)
    mu = 0.1  # bin 18
    drawn = np.array([draw_sigma_given_mu(Degradation.HAZE, mu, rng) for _ in range(2000)])
    row = published_histogram(Degradation.HAZE).joint[18]
    observed = np.bincount(bin_index(drawn, SIGMA_EDGES), minlength=BINS)
    assert chi_square_p(observed, row / row.sum() * 2000) > 0.001


def test_sigma_of_an_unpublished_mu_comes_from_the_nearest_row():
    rng = np.random.default_rng(9)
    last = published_histogram(Degradation.RAINDROP).joint.sum(1).nonzero()[0][-1]
    allowed = np.flatnonzero(published_histogram(Degradation.RAINDROP).joint[last])
    drawn = np.array([draw_sigma_given_mu(Degradation.RAINDROP, 0.6, rng) for _ in range(100)])
    assert set(bin_index(drawn, SIGMA_EDGES)) <= set(allowed)


def test_sigma_is_never_larger_than_mu_allows():
    rng = np.random.default_rng(10)
    drawn = [draw_sigma_given_mu(Degradation.RAINDROP, 1e-4, rng) for _ in range(50)]
    assert max(drawn) <= math.sqrt(1e-4)
    assert draw_sigma_given_mu(Degradation.SNOW, 0.0, rng) == 0


def test_mu_follows_the_column_of_sigma():
    rng = np.random.default_rng(8)
    sigma = 0.1  # bin 32
    drawn = np.array([draw_mu_given_sigma(Degradation.HAZE, sigma, rng) for _ in range(2000)])
    column = published_histogram(Degradation.HAZE).joint[:, 32]
    observed = np.bincount(bin_index(drawn, MU_EDGES), minlength=BINS)
    assert chi_square_p(observed, column / column.sum() * 2000) > 0.001


def test_mu_of_an_unpublished_sigma_comes_from_the_nearest_column():
    rng = np.random.default_rng(9)
    joint = published_histogram(Degradation.LOW_LIGHT).joint
    last = joint.sum(0).nonzero()[0][-1]
    assert last < BINS - 10
    drawn = np.array([draw_mu_given_sigma(Degradation.LOW_LIGHT, 0.4, rng) for _ in range(100)])
    expected = np.clip(MU_EDGES[np.flatnonzero(joint[:, last])], 0.2, 0.7)
    assert drawn.min() >= expected.min()
    assert drawn.max() <= expected.max() + MU_EDGES[1]


@pytest.mark.parametrize("degradation", Degradation)
@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.4])
def test_mu_always_lets_sigma_be(degradation: Degradation, sigma: float):
    rng = np.random.default_rng(10)
    drawn = np.array([draw_mu_given_sigma(degradation, sigma, rng) for _ in range(50)])
    assert (np.sqrt(drawn * (1 - drawn)) >= sigma - 1e-9).all()
    assert drawn.max() <= 0.7


def test_every_twentieth_draw_is_free_starting_with_the_first():
    assert [n for n in range(81) if is_free(n)] == [0, 20, 40, 60, 80]
    assert [n for n in range(10) if is_free(n, every=3)] == [0, 3, 6, 9]
    assert not any(is_free(n, every=0) for n in range(50))


def test_a_seed_fixes_the_draw():
    first, again, other = (draw_intensity(Degradation.RAIN, np.random.default_rng(s)) for s in (4, 4, 5))
    assert first == again
    assert first != other


def test_unknown_data_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="low light has no data set 'RESIDE'; choose one of LOLv2, SID"):
        draw_intensity(Degradation.LOW_LIGHT, np.random.default_rng(0), dataset="RESIDE")
