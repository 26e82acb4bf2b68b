"""From the values of the controls, or of a link, to what the core understands; a refusal is a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gendeg_core.synthesize import ENGINES, Sampling
from gendeg_core.types import Degradation, DegradationRequest

DEFAULT_SEED = 7
DEFAULT_MU = 0.2
DEFAULT_SIGMA = 0.1
SEED_TOP = 2**53 - 1  # the largest whole number that survives a browser


@dataclass(frozen=True)
class Job:
    """One run: which engine, what is asked, how it samples."""

    engine: str
    request: DegradationRequest
    sampling: Sampling


def number(name: str, value: object) -> float:
    """`value` as a finite float, or ValueError with a sentence."""
    try:
        result = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(result):
        raise ValueError(
            f"{name}={result} is not a finite number; choose a value inside the range of its slider"
        )
    return result


def whole_number(name: str, value: object) -> int:
    """`value` as an int, exactly; a fraction is refused rather than cut."""
    if isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal()):
        return int(value)  # a large one would not survive as a float
    result = number(name, value)
    if result != int(result):
        raise ValueError(f"{name}={result} must be a whole number")
    return int(result)


def read_job(
    degradation: object,
    mu: object,
    sigma: object,
    seed: object,
    caption: object,
    engine: object,
    steps: object = None,
    guidance: object = None,
    image_guidance: object = None,
) -> Job:
    """Check every control and build the job. Steps and guidances of None mean the weights' own default."""
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    request = DegradationRequest(
        Degradation.parse(str(degradation)),
        number("mu", mu),
        number("sigma", sigma),
        whole_number("seed", seed),
        str(caption or ""),
    )
    sampling = Sampling(
        steps=whole_number("steps", steps) if steps is not None else None,
        guidance=number("guidance", guidance) if guidance is not None else None,
        image_guidance=number("image guidance", image_guidance) if image_guidance is not None else None,
    )
    return Job(str(engine), request, sampling)


@dataclass(frozen=True)
class LinkSettings:
    """What the address of the page may carry; None means not given."""

    degradation: Degradation = Degradation.HAZE
    mu: float = DEFAULT_MU
    sigma: float = DEFAULT_SIGMA
    seed: int = DEFAULT_SEED
    engine: str | None = None


def read_link(query: Mapping[str, str]) -> LinkSettings:
    """Settings from the query part of an address such as `?degradation=haze&mu=0.2&sigma=0.1&seed=7`.

    Raises:
        ValueError: a value in the address is unusable.
    """
    default = LinkSettings()
    job = read_job(
        query.get("degradation", default.degradation.value),
        query.get("mu", default.mu),
        query.get("sigma", default.sigma),
        query.get("seed", default.seed),
        "",
        query.get("engine", "simulator"),
    )
    request = job.request
    if request.seed > SEED_TOP:
        raise ValueError(f"seed={request.seed} is more than the page can hold; choose one up to {SEED_TOP}")
    return LinkSettings(request.degradation, request.mu, request.sigma, request.seed, query.get("engine"))


def file_stem(photo_name: str, request: DegradationRequest) -> str:
    """`street_haze_mu0.20_sigma0.10_seed7`: the settings in the name of the file."""
    mu, sigma = (f"{value:.3f}".rstrip("0").ljust(4, "0") for value in (request.mu, request.sigma))
    return f"{photo_name}_{request.degradation.value}_mu{mu}_sigma{sigma}_seed{request.seed}"
