"""The engines as the factory uses them: all requests of one photo at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gendeg_core.dataset.clock import Clock
from gendeg_core.synthesize import Sampling, SimulatorEngine, degrade
from gendeg_core.types import DegradationRequest, DegradationResult

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.generate.pipeline import GenDegPipeline

ITEMS_AT_ONCE = 8  # in one pass of the network; part of what the pixels depend on, so it is no option


class PhotoEngine(Protocol):
    """Makes the items of one photo.

    `weights`, `scheduler` and `steps` say what the pixels follow from; all of them go into every row.
    """

    @property
    def weights(self) -> str: ...

    @property
    def scheduler(self) -> str:
        """Its class; empty for simulators."""
        ...

    @property
    def steps(self) -> int | None:
        """None for simulators."""
        ...

    def clock(self) -> Clock:
        """A clock that counts this engine's work rightly."""
        ...

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        """Results of all requests on one photo, float32 (3, H, W) in [0, 1]."""
        ...


class GenDegPhotos:
    """The diffusion model: one encoding of each prompt, all requests for one denoiser in one batch."""

    def __init__(self, pipeline: GenDegPipeline, sampling: Sampling) -> None:
        from gendeg_core.generate.text_memory import TextMemory

        self.pipeline, self.sampling = pipeline, sampling
        self.weights = pipeline.weights_identity
        self.scheduler = type(pipeline.scheduler).__name__
        self.steps = pipeline.guidance(sampling.steps).steps
        pipeline.text_memory = TextMemory()

    def clock(self) -> Clock:
        import torch

        return Clock(torch.cuda.synchronize) if self.pipeline.device.type == "cuda" else Clock()

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        self.pipeline.stage = lambda name: clock.stage("decode" if name == "encode" else name)
        with clock.stage("generator"):
            for item in self.pipeline.iterate(
                [clean] * len(requests),
                requests,
                num_inference_steps=self.sampling.steps,
                guidance_scale=self.sampling.guidance,
                image_guidance_scale=self.sampling.image_guidance,
                max_batch=ITEMS_AT_ONCE,
            ):
                if isinstance(item, list):
                    return item
        raise AssertionError("the pipeline yields its results last")


class SimulatorPhotos:
    """The physical simulators, request by request."""

    weights, scheduler, steps = "simulator", "", None

    def clock(self) -> Clock:
        return Clock()

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        with clock.stage("generator"):
            return [degrade(clean, request, SimulatorEngine()) for request in requests]


Load = Callable[["EngineOptions", Iterable[str], "str | None"], dict[str, PhotoEngine]]


@dataclass(frozen=True)
class EngineOptions:
    """What the gendeg engine is loaded with.

    Args:
        weights: folder that `GenDegPipeline.from_pretrained` opens; None for the shipped weights.
        sampling: steps and guidance; None inside means the default that came with the weights.
    """

    weights: str | None = None
    sampling: Sampling = Sampling()


def load_engines(options: EngineOptions, names: Iterable[str], device: str | None) -> dict[str, PhotoEngine]:
    """The engines called `names`, the diffusion model on `device` (None: the best there is).

    Raises:
        OSError: the weights are missing or unreadable.
    """
    engines: dict[str, PhotoEngine] = {}
    if "simulator" in names:
        engines["simulator"] = SimulatorPhotos()
    if "gendeg" in names:
        import torch

        from gendeg_core.generate.loading import load_pipeline

        folder = None if options.weights is None else Path(options.weights)
        pipeline, _ = load_pipeline(folder, None if device is None else torch.device(device))
        engines["gendeg"] = GenDegPhotos(pipeline, options.sampling)
    return engines
