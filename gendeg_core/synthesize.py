"""One photo and one request to one degraded photo, by either engine: the diffusion model or the simulators.

The app, the command line and the data factory all call this file; progress, cancel and storage are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gendeg_core.types import DegradationRequest, DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.generate.pipeline import GenDegPipeline

ENGINES = ("gendeg", "simulator")


@dataclass(frozen=True)
class Sampling:
    """How the diffusion model samples; None means the default that came with the weights.

    Args:
        steps: number of scheduler steps, 1 to 1000.
        guidance: weight of the text and intensity condition (7.5 in the paper).
        image_guidance: weight of the clean photo (1.5 in the paper).
    """

    steps: int | None = None
    guidance: float | None = None
    image_guidance: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ValueError(f"steps={self.steps} is outside 1 to 1000; choose a value inside")
        for name, value in (("guidance", self.guidance), ("image_guidance", self.image_guidance)):
            if value is not None and not 0 <= value <= 30:
                raise ValueError(f"{name}={value} is outside 0 to 30; choose a value inside")


DEFAULT_SAMPLING = Sampling()


class Engine(Protocol):
    """Turns a photo into its degraded self.

    `run` yields `Progress` between units of work, the `DegradationResult` last; closing the iterator cancels.
    """

    name: str
    weights: str  # identity of the weights, part of every result

    def run(
        self, clean: Tensor, request: DegradationRequest, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Progress | DegradationResult]:
        """Degrade `clean`, float32 (3, H, W) in [0, 1]."""
        ...


class SimulatorEngine:
    """The physical simulators of `gendeg_core.simulate`."""

    name = "simulator"
    weights = "simulator"

    def run(
        self, clean: Tensor, request: DegradationRequest, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Progress | DegradationResult]:
        from gendeg_core.simulate import simulate
        from gendeg_core.statistics import degradation_map, measure

        del sampling  # nothing is sampled in steps
        yield Progress(0, 1)
        simulated = simulate(clean, request)
        mu, sigma = measure(clean, simulated.degraded)
        yield DegradationResult(
            request=request,
            degraded=simulated.degraded,
            target=clean,
            degradation_map=degradation_map(clean, simulated.degraded),
            mu_obtained=mu,
            sigma_obtained=sigma,
            weights=f"simulator:{simulated.family}",
        )


class GenDegEngine:
    """The latent diffusion model of `gendeg_core.generate`."""

    name = "gendeg"

    def __init__(self, pipeline: GenDegPipeline, weights: str) -> None:
        self.pipeline = pipeline
        self.weights = weights

    def run(
        self, clean: Tensor, request: DegradationRequest, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Progress | DegradationResult]:
        for item in self.pipeline.iterate(
            [clean],
            [request],
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            image_guidance_scale=sampling.image_guidance,
        ):
            yield item if isinstance(item, Progress) else item[0]


def load_engine(name: str = "gendeg", weights: str | Path | None = None) -> Engine:
    """The engine called `name`; `weights` is a folder that `GenDegPipeline.from_pretrained` opens.

    Raises:
        ValueError: unknown engine, or weights given to the simulators.
        OSError: the weights folder is missing or unreadable.
    """
    if name == "simulator":
        if weights is not None:
            raise ValueError(f"the simulator engine takes no weights, got {weights}; drop the option")
        return SimulatorEngine()
    if name == "gendeg":
        from gendeg_core.generate.loading import load_pipeline

        pipeline, identity = load_pipeline(weights)
        return GenDegEngine(pipeline, identity)
    raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")


def degrade(
    clean: Tensor, request: DegradationRequest, engine: Engine, sampling: Sampling = DEFAULT_SAMPLING
) -> DegradationResult:
    """Run `engine` to the end and return its result."""
    result = None
    for item in engine.run(clean, request, sampling):
        if isinstance(item, DegradationResult):
            result = item
    assert result is not None, "an engine yields its result last"
    return result
