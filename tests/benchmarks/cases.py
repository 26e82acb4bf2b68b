"""What is timed: imports in a fresh Python, each simulator and the generator at two sizes."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gendeg_core.simulate import simulate
from gendeg_core.statistics import MU_EDGES, SIGMA_EDGES, published_histogram
from gendeg_core.types import Degradation, DegradationRequest
from tests.benchmarks.timing import Case

ROOT = Path(__file__).parents[2]
SIZES = (256, 512)


def import_cases() -> Iterator[Case]:
    """A Python that does nothing, then one that imports the library and the command line."""
    for name in ("sys", "gendeg_core", "gendeg_core.cli"):
        command = [sys.executable, "-c", f"import {name}"]
        run = functools.partial(subprocess.run, command, cwd=ROOT, check=True)
        yield Case("import", f"python -c 'import {name}'", run)


def simulator_cases() -> Iterator[Case]:
    """Each degradation at its most usual published intensity."""
    for degradation in Degradation:
        request = usual_request(degradation)
        for size in SIZES:
            run = functools.partial(simulate, photo(size), request)
            yield Case(f"simulate {degradation.value}", f"{size} x {size}", run)


def generator_cases() -> Iterator[Case]:
    """The shipped diffusion weights; haze has no detail passes, rain has one doubling at 512."""
    from gendeg_core.synthesize import degrade, load_engine

    engine = load_engine("gendeg")
    for degradation in (Degradation.HAZE, Degradation.RAIN):
        for size in SIZES:
            run = functools.partial(degrade, photo(size), usual_request(degradation), engine)
            yield Case(f"generate {degradation.value}", f"{size} x {size}", run)


def usual_request(degradation: Degradation) -> DegradationRequest:
    """The means of mu and sigma over the published pairs."""
    joint = published_histogram(degradation).joint
    mu = (joint.sum(1) * (MU_EDGES[:-1] + MU_EDGES[1:]) / 2).sum() / joint.sum()
    sigma = (joint.sum(0) * (SIGMA_EDGES[:-1] + SIGMA_EDGES[1:]) / 2).sum() / joint.sum()
    return DegradationRequest(degradation, float(mu), float(sigma), seed=1)


def photo(size: int) -> Tensor:
    """(3, size, size): the middle of scikit-learn's flower photo."""
    from sklearn.datasets import load_sample_image

    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1).float() / 255
    square = pixels[:, :, (pixels.shape[2] - pixels.shape[1]) // 2 :][:, :, : pixels.shape[1]]
    return torch.nn.functional.interpolate(square[None], size=(size, size), mode="bilinear", antialias=True)[
        0
    ]


GROUPS = {"import": import_cases, "simulate": simulator_cases, "generate": generator_cases}
