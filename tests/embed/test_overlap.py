"""Overlap numbers on sets made by hand: the same, far apart, half shared; and against worked values."""

from __future__ import annotations

import numpy as np
import pytest

from gendeg_core.embed.overlap import MEANINGS, Overlap, frechet_distance, overlap, overlaps

WIDTH, COUNT = 12, 300
FAR = 10 * np.eye(WIDTH)[0]


def draw(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, WIDTH))


def compare(first: np.ndarray, second: np.ndarray, **arguments) -> Overlap:
    return overlap(first, second, metric="euclidean", **arguments)


@pytest.fixture(scope="module")
def same() -> Overlap:
    return compare(draw(seed=1), draw(seed=2))


@pytest.fixture(scope="module")
def apart() -> Overlap:
    return compare(draw(seed=1), draw(seed=2) + FAR)


@pytest.fixture(scope="module")
def half() -> Overlap:
    moved = draw(seed=2)
    moved[: COUNT // 2] += FAR
    return compare(draw(seed=1), moved)


def test_two_draws_of_one_distribution(same: Overlap):
    assert same.neighbour_share.value == pytest.approx(0.5, abs=0.02)
    assert same.mmd.value == pytest.approx(0, abs=0.003)
    assert same.mmd.low < 0 < same.mmd.high
    assert same.density.value == pytest.approx(1, abs=0.15)
    assert same.coverage.value == pytest.approx(1 - 2**-5, abs=0.03)
    assert same.frechet.value < 0.2


def test_sets_far_apart(apart: Overlap):
    assert apart.neighbour_share.value == apart.density.value == apart.coverage.value == 0
    assert apart.mmd.low > 0.3
    # Only the means differ, by 10.
    assert apart.frechet.value == pytest.approx(100, rel=0.05)
    assert apart.frechet.low < 100 < apart.frechet.high


def test_sets_that_share_a_half(half: Overlap, same: Overlap, apart: Overlap):
    # Near the origin two of three photos are of the first set; the far half sees only its like.
    expected = (1 / 3 + (0 + 2 / 3) / 2) / 2
    assert half.neighbour_share.value == pytest.approx(expected, abs=0.04)
    assert half.density.value == pytest.approx(0.5, abs=0.12)
    # A ball of five photos misses half as many others with probability near (2/3)^5.
    assert half.coverage.value == pytest.approx(1 - (2 / 3) ** 5, abs=0.06)
    # Means differ by 5; along that axis the variances are 1 and 26.
    assert half.frechet.value == pytest.approx(25 + (np.sqrt(26) - 1) ** 2, rel=0.15)
    assert same.mmd.high < half.mmd.low < half.mmd.high < apart.mmd.low


def test_a_set_and_its_copy():
    copy = compare(draw(), draw())
    assert copy.neighbour_share.value >= 0.5
    assert copy.coverage.value == 1
    assert copy.frechet.value == 0
    assert copy.mmd.value <= 0


def test_every_value_lies_in_its_interval(same: Overlap, apart: Overlap, half: Overlap):
    for numbers in (same, apart, half):
        for name in MEANINGS:
            measured = getattr(numbers, name)
            assert measured.low <= measured.value <= measured.high, name


def test_more_photos_make_intervals_narrower():
    wide, narrow = (compare(draw(count, 1), draw(count, 2)) for count in (60, 600))
    for name in MEANINGS:
        few, many = getattr(wide, name), getattr(narrow, name)
        assert many.high - many.low < few.high - few.low, name


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """The squared MMD of two Gaussians one apart, a Gaussian kernel of known width: by formula."""
    hits = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(0, 1, (100, 1)), rng.normal(1, 1, (100, 1))
        numbers = overlap(a, b, metric="euclidean", resamples=100, seed=seed)
        pairs = np.concatenate([a, b])
        width = np.median(np.abs(pairs - pairs.T)[np.triu_indices(200, 1)])
        wide = width**2 + 2
        truth = 2 * np.sqrt(width**2 / wide) * (1 - np.exp(-1 / (2 * wide)))
        hits += numbers.mmd.low <= truth <= numbers.mmd.high
    assert hits >= 24


def test_mmd_is_the_mean_over_pairs():
    a, b = draw(25, 1), draw(25, 2) + 0.5
    both = np.concatenate([a, b])
    squares = ((both[:, None] - both[None]) ** 2).sum(axis=2)
    width = np.median(np.sqrt(squares[np.triu_indices(50, 1)]))
    kernel = np.exp(-squares / (2 * width**2))
    pairs = [(i, j) for i in range(25) for j in range(25) if i != j]
    inner = np.mean([kernel[i, j] + kernel[25 + i, 25 + j] for i, j in pairs])
    cross = np.mean([kernel[i, 25 + j] for i in range(25) for j in range(25)])
    assert compare(a, b).mmd.value == pytest.approx(inner - 2 * cross)


def test_frechet_distance_of_known_gaussians():
    corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)  # covariance: the identity
    stretched = corners * [2, 3] + [5, 0]
    # |m|^2 + sum of (s_x - s_y)^2 over the axes
    assert frechet_distance(corners, stretched) == pytest.approx(25 + 1 + 4)
    assert frechet_distance(corners, corners) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_freed_of_the_bias_of_few_photos():
    plain = frechet_distance(draw(80, 1), draw(80, 2))
    assert compare(draw(80, 1), draw(80, 2)).frechet.value < 0.4 * plain


def test_sets_of_unlike_sizes_are_compared_at_one_size():
    numbers = compare(draw(400, 1), draw(100, 2))
    assert numbers.photos == 100
    assert numbers.neighbour_share.value == pytest.approx(0.5, abs=0.05)
    assert compare(draw(400, 1), draw(300, 2), limit=50).photos == 50


def test_the_same_seed_gives_the_same_numbers():
    first, second = draw(60, 1), draw(90, 2)
    assert compare(first, second, seed=3) == compare(first, second, seed=3)
    assert compare(first, second, seed=3) != compare(first, second, seed=4)


def test_by_default_only_directions_count():
    first = draw(seed=1) + FAR
    assert overlap(first, 3 * (draw(seed=2) + FAR)).neighbour_share.value == pytest.approx(0.5, abs=0.03)


def test_every_two_sets_are_compared():
    rows = np.concatenate([draw(40, 1), draw(40, 2) + FAR, draw(40, 3), draw(5, 4)])
    numbers = overlaps(rows, ["a"] * 40 + ["b"] * 40 + ["c"] * 40 + ["few"] * 5)
    assert list(numbers) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert numbers["a", "c"].neighbour_share.value > 0.4
    assert numbers["a", "b"].neighbour_share.high < 0.2


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (draw(19), draw(), "20 photos or more in each set, got 19 and 300"),
        (draw(), np.ones((30, 5)), "of 12 and 5 numbers cannot be compared"),
        (draw(), np.full((30, WIDTH), np.nan), "row 0 of the second set"),
    ],
)
def test_what_cannot_be_compared(first: np.ndarray, second: np.ndarray, words: str):
    with pytest.raises(ValueError, match=words):
        overlap(first, second)


def test_names_of_sets_must_fit():
    with pytest.raises(ValueError, match="2 names of sets for 300 embeddings"):
        overlaps(draw(), ["a", "b"])
