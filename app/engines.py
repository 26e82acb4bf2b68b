"""The two engines, loaded once per process, and the one place where the app lets them work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from app.settings import Job
from app.zerogpu import gpu_task
from gendeg_core.paths import ASSETS
from gendeg_core.synthesize import ENGINES, Engine, Sampling, load_engine
from gendeg_core.types import DegradationRequest, DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

LABELS = {"gendeg": "GenDeg (diffusion model)", "simulator": "Physical simulator"}
LOADED: dict[str, Engine] = {}
_locks = {name: threading.Lock() for name in ENGINES}


class EngineUnavailable(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """An engine that cannot be loaded here; the message says why and what to do."""


def get_engine(name: str) -> Engine:
    """The engine called `name`, loaded at the first call of this process; others wait for that one load.

    Raises:
        ValueError: no engine has this name.
        EngineUnavailable: it exists but its weights cannot be opened.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")
    with _locks[name]:
        if name not in LOADED:
            try:
                LOADED[name] = load_engine(name)
            except (OSError, ValueError, ImportError, RuntimeError) as error:
                raise EngineUnavailable(unavailable_sentence(name, error)) from error
        return LOADED[name]


def unavailable_sentence(name: str, error: Exception) -> str:
    other = next(LABELS[other] for other in ENGINES if other != name)
    reason = str(error).replace(f"{ASSETS.parent}/", "")  # visitors need not know the server's folders
    return (
        f"The engine “{LABELS[name]}” cannot be used here: its weights could not be loaded ({reason}). "
        f"Choose “{other}” instead."
    )


def unavailable_reason(name: str) -> str | None:
    """None when the engine works, else the sentence that says why not. Loads the engine to find out."""
    try:
        get_engine(name)
    except EngineUnavailable as error:
        return str(error)
    return None


def run(
    name: str, clean: Tensor, request: DegradationRequest, sampling: Sampling
) -> Iterator[Progress | DegradationResult]:
    """Degrade `clean` (3, H, W); closing the iterator cancels. Only the diffusion model asks for a GPU."""
    if name == "gendeg":
        get_engine(name)  # in this process: on ZeroGPU the worker is a fork of it and inherits the weights
        yield from _run_on_gpu(clean, request, sampling)
    else:
        yield from get_engine(name).run(clean, request, sampling)


Run = Callable[["Tensor", Job], Iterator[Progress | DegradationResult]]


def run_job(clean: Tensor, job: Job) -> Iterator[Progress | DegradationResult]:
    return run(job.engine, clean, job.request, job.sampling)


@gpu_task(seconds=60)
def _run_on_gpu(
    clean: Tensor, request: DegradationRequest, sampling: Sampling
) -> Iterator[Progress | DegradationResult]:
    yield from get_engine("gendeg").run(clean, request, sampling)


def warm_up() -> None:
    """Load what the first visitor would otherwise wait for; meant for a background thread."""
    get_engine("simulator")
    unavailable_reason("gendeg")
