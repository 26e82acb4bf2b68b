"""Requests to simulated degradations: the asked mu is met, seeds decide, bad input is refused."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.seeds import torch_generator
from gendeg_core.simulate import FAMILIES, random_pair, simulate
from gendeg_core.statistics import measure
from gendeg_core.types import Degradation, DegradationRequest
from tests.simulate.scenes import photo

TYPICAL = {
    Degradation.HAZE: (0.12, 0.07),
    Degradation.RAIN: (0.06, 0.06),
    Degradation.SNOW: (0.06, 0.07),
    Degradation.MOTION_BLUR: (0.04, 0.05),
    Degradation.LOW_LIGHT: (0.2, 0.12),
    Degradation.RAINDROP: (0.03, 0.06),
}


@pytest.mark.parametrize("degradation", list(Degradation))
def test_simulate_meets_typical_requests(degradation):
    clean = photo(256)
    mu, sigma = TYPICAL[degradation]
    for seed in (0, 11):
        simulated = simulate(clean, DegradationRequest(degradation, mu, sigma, seed))
        mu_obtained, sigma_obtained = measure(clean, simulated.degraded)
        assert mu_obtained == pytest.approx(mu, abs=0.01)
        assert sigma_obtained == pytest.approx(sigma, abs=0.05)
        assert simulated.family in FAMILIES[degradation]
        assert 0 < simulated.strength <= 1


@pytest.mark.parametrize("degradation", list(Degradation))
def test_simulate_repeats_exactly_and_follows_the_seed(degradation):
    clean = photo(128, "flower.jpg")
    mu, sigma = TYPICAL[degradation]
    runs = [
        simulate(clean, DegradationRequest(degradation, mu, sigma, seed), candidates=3) for seed in (5, 5, 6)
    ]
    assert torch.equal(runs[0].degraded, runs[1].degraded)
    assert not torch.equal(runs[0].degraded, runs[2].degraded)


def test_more_candidates_come_nearer_to_sigma():
    clean = photo(128)

    def error(candidates):
        total = 0.0
        for seed in range(4):
            request = DegradationRequest(Degradation.SNOW, 0.05, 0.1, seed)
            total += abs(measure(clean, simulate(clean, request, candidates=candidates).degraded)[1] - 0.1)
        return total

    assert error(12) < error(1)


def test_no_change_asked_is_the_clean_photo():
    clean = photo(64)
    for degradation in Degradation:
        simulated = simulate(clean, DegradationRequest(degradation, 0.0, 0.0, 1), candidates=2)
        assert torch.equal(simulated.degraded, clean)
        assert simulated.strength == 0


def test_a_wide_photo_keeps_its_shape_and_reaches_mu():
    clean = torch.cat((photo(120), photo(120, "flower.jpg")), dim=2)
    simulated = simulate(clean, DegradationRequest(Degradation.RAIN, 0.06, 0.06, 3))
    assert simulated.degraded.shape == clean.shape
    assert measure(clean, simulated.degraded)[0] == pytest.approx(0.06, abs=0.01)


def test_one_pixel_does_not_fail():
    clean = torch.full((3, 1, 1), 0.4)
    for degradation in Degradation:
        degraded = simulate(clean, DegradationRequest(degradation, 0.1, 0.1, 0)).degraded
        assert degraded.shape == (3, 1, 1)


def test_the_asked_family_is_used():
    clean = photo(64)
    request = DegradationRequest(Degradation.HAZE, 0.1, 0.06, 2)
    assert {simulate(clean, request, family=name).family for name in ("patchy", "layered")} == {
        "patchy",
        "layered",
    }


def test_unknown_families_and_wrong_shapes_are_refused():
    request = DegradationRequest(Degradation.HAZE, 0.1, 0.06, 2)
    with pytest.raises(ValueError, match="unknown haze family 'fog'; choose one of homogeneous"):
        simulate(photo(64), request, family="fog")
    with pytest.raises(ValueError, match="pass one RGB image"):
        simulate(torch.zeros(1, 8, 8), request)
    with pytest.raises(ValueError, match="candidates=0"):
        simulate(photo(64), request, candidates=0)
    with pytest.raises(ValueError, match="unknown snow family"):
        random_pair(photo(64), Degradation.SNOW, torch_generator(0), families=["patchy"])


@pytest.mark.parametrize("degradation", list(Degradation))
def test_random_pairs_meet_mu_and_vary(degradation):
    clean = photo(128)
    mu = TYPICAL[degradation][0]
    pairs = [random_pair(clean, degradation, torch_generator(seed), mu=mu) for seed in range(8)]
    errors = sorted(abs((p.degraded - clean).abs().mean().item() - mu) for p in pairs)
    assert errors[5] < 0.006  # a pattern that is too weak for mu may remain, but rarely
    assert len({p.family for p in pairs}) >= 2


def test_random_pair_is_seeded_and_draws_a_strength():
    clean = photo(64)
    first, again, other = (random_pair(clean, Degradation.RAIN, torch_generator(s)) for s in (1, 1, 2))
    assert torch.equal(first.degraded, again.degraded)
    assert first.strength != other.strength


def test_the_type_of_the_photo_is_kept():
    clean = photo(64).double()
    assert random_pair(clean, Degradation.HAZE, torch_generator(0)).degraded.dtype == torch.float64
