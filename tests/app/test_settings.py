"""Values of controls and links become a job, or one sentence."""

from __future__ import annotations

import pytest

from app.settings import file_stem, read_job, read_link
from gendeg_core.types import Degradation, DegradationRequest

GOOD = ("haze", 0.2, 0.1, 7, "a street", "simulator")


def changed(**values: object) -> list[object]:
    names = ("degradation", "mu", "sigma", "seed", "caption", "engine")
    return [values.get(name, value) for name, value in zip(names, GOOD, strict=True)]


def test_a_job_holds_what_the_controls_say() -> None:
    job = read_job(*GOOD, 12, 3.5, 1.25)
    assert job.request == DegradationRequest(Degradation.HAZE, 0.2, 0.1, 7, "a street")
    assert (job.sampling.steps, job.sampling.guidance, job.sampling.image_guidance) == (12, 3.5, 1.25)
    assert job.engine == "simulator"


def test_empty_advanced_fields_mean_the_default_of_the_weights() -> None:
    sampling = read_job(*GOOD, None, None, None).sampling
    assert (sampling.steps, sampling.guidance, sampling.image_guidance) == (None, None, None)


def test_a_guidance_of_zero_is_kept() -> None:
    assert read_job(*GOOD, None, 0, 0).sampling.guidance == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mu": float("nan")}, "mu=nan is not a finite number"),
        ({"sigma": float("inf")}, "sigma=inf is not a finite number"),
        ({"mu": None}, "mu must be a number, got None"),
        ({"mu": "strong"}, "mu must be a number, got 'strong'"),
        ({"mu": 0.9}, "mu=0.9 is outside 0 to 0.7"),
        ({"sigma": -0.1}, "sigma=-0.1 is outside 0 to 0.4"),
        ({"degradation": "fog"}, "unknown degradation 'fog'; choose one of haze, rain"),
        ({"engine": "magic"}, "unknown engine 'magic'; choose one of gendeg, simulator"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"seed": None}, "seed must be a number, got None"),
        ({"seed": -3}, "seed=-3"),
    ],
)
def test_unusable_values_are_refused_with_a_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match="^[^\n]+$") as caught:
        read_job(*changed(**values))
    assert words in str(caught.value)


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 1, str(2**63 - 1), " 12 ", 7.0, "7.0"])
def test_a_whole_number_stays_what_it_is(seed: object) -> None:
    assert read_job(*changed(seed=seed)).request.seed == int(float(seed) if "." in str(seed) else seed)


def test_a_link_cannot_carry_a_seed_that_a_browser_rounds() -> None:
    assert read_link({"seed": str(2**53 - 1)}).seed == 2**53 - 1
    with pytest.raises(ValueError, match=f"seed={2**53} is more than .* up to {2**53 - 1}"):
        read_link({"seed": str(2**53)})


def test_a_link_carries_the_settings() -> None:
    link = read_link({"degradation": "rain", "mu": "0.31", "sigma": "0.05", "seed": "12", "engine": "gendeg"})
    assert (link.degradation, link.mu, link.sigma, link.seed) == (Degradation.RAIN, 0.31, 0.05, 12)
    assert link.engine == "gendeg"


def test_a_link_without_settings_gives_the_defaults() -> None:
    assert read_link({"__theme": "dark"}) == read_link({})


@pytest.mark.parametrize("query", [{"mu": "2"}, {"seed": "abc"}, {"degradation": "fog"}, {"sigma": "nan"}])
def test_a_bad_link_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(query))):
        read_link(query)


def test_the_file_name_tells_the_settings() -> None:
    request = DegradationRequest(Degradation.LOW_LIGHT, 0.2, 0.105, 7)
    assert file_stem("street", request) == "street_low_light_mu0.20_sigma0.105_seed7"
