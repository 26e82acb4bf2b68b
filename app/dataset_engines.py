"""The app's loaded engines as the data factory uses them, stopping between two units of work when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from app import engines
from app.cancel import CancelledError
from app.settings import Job
from app.zerogpu import gpu_task
from gendeg_core.dataset.clock import Clock
from gendeg_core.dataset.engines import ITEMS_AT_ONCE, EngineOptions, Load, PhotoEngine
from gendeg_core.synthesize import DEFAULT_SAMPLING, GenDegEngine
from gendeg_core.types import DegradationRequest, DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

Stopped = Callable[[], bool]


class OneByOne:
    """Any engine of the app, request by request."""

    scheduler: str = ""
    steps: int | None = None

    def __init__(self, name: str, stopped: Stopped) -> None:
        self.name, self.stopped = name, stopped
        self.weights = engines.get_engine(name).weights

    def clock(self) -> Clock:
        return Clock()

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        """Results of all requests on one photo, float32 (3, H, W) in [0, 1].

        Raises:
            CancelledError: `stopped` said so.
        """
        results = []
        with clock.stage("generator"):
            for request in requests:
                for item in engines.run_job(clean, Job(self.name, request, DEFAULT_SAMPLING)):
                    if self.stopped():
                        raise CancelledError
                    if isinstance(item, DegradationResult):
                        results.append(item)
        return results


class AllAtOnce:
    """The diffusion model: all requests of one photo in one batch, as on the command line."""

    def __init__(self, engine: GenDegEngine, stopped: Stopped) -> None:
        self.stopped = stopped
        self.weights = engine.pipeline.weights_identity
        self.scheduler = type(engine.pipeline.scheduler).__name__
        self.steps: int | None = engine.pipeline.guidance(None).steps

    def clock(self) -> Clock:
        return Clock()

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        """See `OneByOne.make`."""
        with clock.stage("generator"):
            for item in _batch_on_gpu(clean, list(requests)):
                if self.stopped():
                    raise CancelledError
                if isinstance(item, list):
                    return item
        raise AssertionError("the pipeline yields its results last")


@gpu_task(seconds=120)
def _batch_on_gpu(
    clean: Tensor, requests: list[DegradationRequest]
) -> Iterator[Progress | list[DegradationResult]]:
    engine = engines.get_engine("gendeg")
    assert isinstance(engine, GenDegEngine), "only a diffusion model gets here"
    yield from engine.pipeline.iterate([clean] * len(requests), requests, max_batch=ITEMS_AT_ONCE)


def loader(stopped: Stopped) -> Load:
    """What a shard builder loads its engines with: those that the app already has."""

    def load(options: EngineOptions, names: Iterable[str], device: str | None) -> dict[str, PhotoEngine]:
        del options, device  # the app has one set of weights, on the best device there is
        return {name: _photo_engine(name, stopped) for name in names}

    return load


def _photo_engine(name: str, stopped: Stopped) -> PhotoEngine:
    engine = engines.get_engine(name)
    return AllAtOnce(engine, stopped) if isinstance(engine, GenDegEngine) else OneByOne(name, stopped)
