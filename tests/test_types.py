"""The six degradations, their phrases, and what a request refuses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation, DegradationRequest, prompt

SPELLINGS = ["haze", "rain", "snow", "motion_blur", "low_light", "raindrop"]


def test_six_spellings_in_this_order():
    assert [d.value for d in Degradation] == SPELLINGS
    assert [Degradation.parse(name) for name in SPELLINGS] == list(Degradation)
    assert Degradation.LOW_LIGHT.label == "low light"


@pytest.mark.parametrize("name", ["fog", "Haze", "raindrops", "motion blur", "low-light", "", " haze"])
def test_unknown_degradation_lists_the_six(name: str):
    with pytest.raises(ValueError, match="unknown degradation") as caught:
        Degradation.parse(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in SPELLINGS)
    with pytest.raises(ValueError, match="unknown degradation"):
        DegradationRequest(name, 0.1, 0.1)  # pyright: ignore[reportArgumentType]


def test_a_request_accepts_the_name_of_a_degradation():
    request = DegradationRequest("snow", 0.1, 0.1)  # pyright: ignore[reportArgumentType]
    assert request.degradation is Degradation.SNOW


@pytest.mark.parametrize(
    ("degradation", "text"),
    [
        ("haze", "a pier at dusk, in hazy conditions"),
        ("rain", "a pier at dusk, in rainy conditions"),
        ("snow", "a pier at dusk, in snowy conditions"),
        ("motion_blur", "a pier at dusk, in blurry conditions"),
        ("low_light", "a pier at dusk, in low-light conditions"),
        ("raindrop", "a pier at dusk, with raindrops in it"),
    ],
)
def test_prompt_is_caption_comma_phrase(degradation: str, text: str):
    request = DegradationRequest(Degradation(degradation), 0.1, 0.1, caption=" a pier at dusk ")
    assert request.prompt == text
    assert prompt("", Degradation(degradation)) == text.removeprefix("a pier at dusk, ")


@given(st.floats(0, MU_MAX), st.floats(0, SIGMA_MAX), st.integers(0, 2**63 - 1))
def test_everything_in_range_is_kept_as_it_is(mu: float, sigma: float, seed: int):
    request = DegradationRequest(Degradation.RAIN, mu, sigma, seed)
    assert (request.mu, request.sigma, request.seed) == (mu, sigma, seed)


@pytest.mark.parametrize("value", [-0.001, 0.7001, 5.0, math.nan, math.inf, -math.inf])
def test_mu_outside_its_range_is_named(value: float):
    with pytest.raises(ValueError, match=f"^mu={value} is outside 0 to 0.7; choose"):
        DegradationRequest(Degradation.HAZE, value, 0.1)


@pytest.mark.parametrize("value", [-0.001, 0.4001, 5.0, math.nan, math.inf])
def test_sigma_outside_its_range_is_named(value: float):
    with pytest.raises(ValueError, match=f"^sigma={value} is outside 0 to 0.4; choose"):
        DegradationRequest(Degradation.HAZE, 0.1, value)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_seed_outside_its_range_is_named(seed: int):
    with pytest.raises(ValueError, match=rf"^seed={seed} is not a whole number from 0 to 2\*\*63 - 1"):
        DegradationRequest(Degradation.HAZE, 0.1, 0.1, seed)


def test_numpy_numbers_are_welcome():
    request = DegradationRequest(Degradation.HAZE, np.float64(0.2), np.float32(0.1), np.int64(3))
    assert request.seed == 3


def test_a_request_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DegradationRequest(Degradation.HAZE, 0.1, 0.1).mu = 0.2  # pyright: ignore[reportAttributeAccessIssue]
