"""What is timed: imports in a fresh Python, each simulator, the generator at two sizes, NAFNet."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gendeg_core.device import pick_device
from gendeg_core.restore.loading import ready
from gendeg_core.restore.zoo import CONFIGS, build_from
from gendeg_core.simulate import simulate
from gendeg_core.statistics import MU_EDGES, SIGMA_EDGES, published_histogram
from gendeg_core.types import Degradation, DegradationRequest
from tests.benchmarks.plain_nafnet import PlainNAFNet
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
    """The shipped diffusion weights, each of their denoisers; but for haze all have one doubling at 512."""
    from gendeg_core.generate.experts import EXPERTS
    from gendeg_core.synthesize import degrade, load_engine

    engine = load_engine("gendeg")
    for degradation in (Degradation.HAZE, Degradation.RAIN, *EXPERTS):
        for size in SIZES:
            run = functools.partial(degrade, photo(size), usual_request(degradation), engine)
            yield Case(f"generate {degradation.value}", f"{size} x {size}", run)


def network_cases() -> Iterator[Case]:
    """NAFNet of width 32 at 256 x 256: the plain transcription, then ours, with the same weights.

    On a GPU also both in half precision, each group against its own plain network.
    """
    device = pick_device()
    precisions = [torch.float32] if device.type == "cpu" else [torch.float32, torch.float16]
    for size in ("SIDD-width32", "GoPro-width32"):
        for dtype in precisions:
            image = photo(256)[None].to(device, dtype)
            for name, net in zip(("plain", "ours"), nafnets(size, device, dtype), strict=True):
                group = f"{size} on {device.type}, {str(dtype).removeprefix('torch.')}"
                yield Case(group, name, functools.partial(_forward, net, image), repeats=9)


def nafnets(size: str, device: torch.device, dtype: torch.dtype) -> tuple[PlainNAFNet, torch.nn.Module]:
    """The plain network and ours as it is loaded, filled with the same random weights."""
    config = CONFIGS["nafnet"][size] | {"train_size": 0, "photo_side": 0}
    names = ("width", "encoder_blocks", "middle_blocks", "decoder_blocks")
    plain, ours = PlainNAFNet(*(config[name] for name in names)), build_from("nafnet", config)
    generator = torch.Generator().manual_seed(0)
    for value in plain.state_dict().values():
        fan_in = value[0].numel() if value.ndim > 1 else 16
        value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
    ours.load_state_dict(plain.state_dict())
    return plain.eval().to(device, dtype), ready(ours, device, dtype)


@torch.inference_mode()
def _forward(net: torch.nn.Module, image: Tensor) -> Tensor:
    restored = net(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return restored


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


GROUPS = {
    "import": import_cases,
    "simulate": simulator_cases,
    "generate": generator_cases,
    "networks": network_cases,
}
