"""The intensity projections against the official numbers, and what the soft variant adds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendeg_core.generate.intensity import IntensityProjection
from gendeg_core.statistics import BINS, MU_EDGES, NULL_BIN, SIGMA_EDGES, bin_index, measure_uint8, one_hot
from tests import golden

FIELDS = {"mu": MU_EDGES, "sigma": SIGMA_EDGES}


@pytest.fixture(scope="module")
def numbers():
    return golden.load("intensity")


@pytest.fixture(scope="module")
def official():
    """The official projections, text width 16."""
    network = IntensityProjection(text_dim=16)
    network.load_state_dict(golden.official_state("intensity"))
    return network


def one_hots(index):
    return torch.from_numpy(one_hot(index.numpy()))


@pytest.mark.parametrize("field", FIELDS)
def test_edges_are_the_official_ones_bit_for_bit(numbers, field):
    assert np.array_equal(FIELDS[field], numbers[f"out/{field}_edges"].numpy())


@pytest.mark.parametrize("field", FIELDS)
def test_every_value_at_and_next_to_an_edge_falls_into_the_official_bin(numbers, field):
    values, index = numbers[f"in/{field}_values"], numbers[f"out/{field}_index"]
    assert np.array_equal(bin_index(values.numpy(), FIELDS[field]), index.numpy())
    rows = {"mu": 0, "sigma": 1}
    asked = {"mu": [None] * len(values), "sigma": [None] * len(values), field: values}
    encoded = IntensityProjection(text_dim=4).encode(asked["mu"], asked["sigma"])
    assert torch.equal(encoded[:, rows[field]], one_hots(index))
    assert (encoded[:, 1 - rows[field]].argmax(-1) == NULL_BIN).all()


@pytest.mark.parametrize("interpolate", [False, True])
def test_negative_values_are_refused(interpolate):
    network = IntensityProjection(text_dim=4, interpolate=interpolate)
    with pytest.raises(ValueError, match="never negative"):
        network.encode([0.1, -1e-9], [0.1, 0.1])
    with pytest.raises(ValueError, match="never negative"):
        network.encode([0.1], torch.tensor([-0.1]))


@pytest.mark.parametrize("pair", [0, 1])
def test_statistics_of_a_pair_are_the_official_ones(numbers, pair):
    clean, degraded = (numbers[f"in/pair{pair}_{name}"].numpy() for name in ("clean", "degraded"))
    mu, sigma = measure_uint8(clean, degraded)
    expected = numbers[f"out/pair{pair}_mu_sigma"].tolist()
    assert [mu, sigma] == pytest.approx(expected, abs=1e-12, rel=0)
    index = IntensityProjection(text_dim=4).encode([mu], [sigma]).argmax(-1)[0]
    assert torch.equal(index, numbers[f"out/pair{pair}_stats_index"])


@torch.no_grad()
def test_contexts_are_the_official_ones(numbers, official):
    stats = one_hots(numbers["in/stats_index"])
    golden.assert_close(official.stats_proj(stats), numbers["out/stats_projected"], 1e-5)
    golden.assert_close(official(numbers["in/text_embedding"], stats), numbers["out/context_full"], 1e-5)
    null = official(numbers["in/null_text_embedding"][None], official.encode([None], [math.nan]))
    golden.assert_close(null, numbers["out/context_null"], 1e-5)


@torch.no_grad()
def test_dropped_text_and_intensity_give_the_official_contexts(numbers, official):
    # Training drops text and intensity together, below 0.10 of one uniform number per sample.
    dropped = numbers["in/uniform"] < torch.tensor(0.1)
    text = torch.where(
        dropped[:, None, None], numbers["in/null_text_embedding"], numbers["in/text_embedding"]
    )
    index = torch.where(dropped[:, None], NULL_BIN, numbers["in/stats_index"])
    golden.assert_close(official(text, one_hots(index)), numbers["out/context_dropout"], 1e-5)


def test_published_start_passes_the_text_through():
    network = IntensityProjection(text_dim=16, tokens=5)
    weight = network.cc_projection.weight
    assert torch.equal(weight[:, :16], torch.eye(16))
    assert weight[:, 16:].abs().min() > 0
    assert weight[:, 16:].abs().max() <= 1 / math.sqrt(18)
    assert not network.cc_projection.bias.any()


def test_published_sizes():
    network = IntensityProjection()
    assert network.stats_proj.weight.shape == (77, 129)
    assert network.cc_projection.weight.shape == (768, 770)


@settings(max_examples=50, deadline=None)
@given(mu=st.floats(0, 1), sigma=st.floats(0, 0.6))
def test_shared_weights_keep_the_value(mu, sigma):
    network = IntensityProjection(text_dim=4, tokens=3, interpolate=True)
    weights = network.encode([mu], [sigma])[0].double().numpy()
    assert weights.sum(-1) == pytest.approx(1, abs=1e-6)
    assert (weights >= 0).all()
    assert ((weights > 0).sum(-1) <= 2).all()
    for row, value, edges in ((weights[0], mu, MU_EDGES), (weights[1], sigma, SIGMA_EDGES)):
        centres = (edges[1:] + edges[:-1]) / 2
        assert row[NULL_BIN] == 0
        assert row[:BINS] @ centres == pytest.approx(np.clip(value, centres[0], centres[-1]), abs=1e-6)


def test_a_bin_centre_is_a_one_hot_either_way():
    centres = (MU_EDGES[1:] + MU_EDGES[:-1]) / 2
    soft = IntensityProjection(text_dim=4, tokens=3, interpolate=True).encode(centres, [None] * BINS)
    hard = IntensityProjection(text_dim=4, tokens=3).encode(centres, [None] * BINS)
    torch.testing.assert_close(soft, hard, atol=1e-5, rtol=0)


@torch.no_grad()
def test_context_moves_in_small_steps_only_when_interpolating():
    values = np.linspace(0.1, 0.2, 1000)
    text = torch.zeros(len(values), 77, 16)
    jumps = {}
    for interpolate in (False, True):
        network = IntensityProjection(text_dim=16, interpolate=interpolate)
        network.load_state_dict(golden.official_state("intensity"))
        context = network(text, network.encode(values, [0.1] * len(values)))
        jumps[interpolate] = context.diff(dim=0).abs().max().item()
    assert jumps[True] < 0.1 * jumps[False]


@pytest.mark.parametrize("tokens", [1, 2, 3, 16, 77])
@torch.no_grad()
def test_smooth_start_is_smooth_tells_values_apart_and_is_zero_without_a_value(tokens):
    network = IntensityProjection(text_dim=4, tokens=tokens, interpolate=True)
    network.smooth_init()
    columns = network.stats_proj.weight  # (tokens, bins)
    assert columns[:, :BINS].diff(dim=1).abs().max() < 0.5
    assert not network.stats_proj(network.encode([None], [None])).any()
    distances = torch.cdist(columns[:, :BINS].T, columns[:, :BINS].T) + torch.eye(BINS)
    assert distances.min() > 0.01


@pytest.mark.parametrize("interpolate", [False, True])
def test_reloads_with_its_configuration(tmp_path, interpolate):
    network = IntensityProjection(text_dim=8, tokens=4, interpolate=interpolate)
    network.save_pretrained(tmp_path)
    again = IntensityProjection.from_pretrained(tmp_path)
    text, values = (
        torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)),
        ([0.11, 0.3], [0.2, None]),
    )
    assert torch.equal(again(text, again.encode(*values)), network(text, network.encode(*values)))


def test_unequal_numbers_of_mu_and_sigma_are_refused():
    with pytest.raises(ValueError, match="2 values of mu but 1 of sigma"):
        IntensityProjection(text_dim=4).encode([0.1, 0.2], [0.1])


def test_another_number_of_bins_is_refused():
    with pytest.raises(ValueError, match="bins=65"):
        IntensityProjection(text_dim=4, bins=65)
