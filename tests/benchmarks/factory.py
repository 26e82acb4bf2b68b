"""The data factory: where its time goes, and what half a million pairs would cost.

Seconds and bytes are measured here and now. Arithmetic is counted, so that the days of a GPU can be projected
from what it sustains; those have not been timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from gendeg_core.dataset.clock import MODEL, STAGES
from gendeg_core.dataset.plan import Plan, PlanSettings, make_plan
from gendeg_core.dataset.run import run_plan
from gendeg_core.dataset.status import Status, read_status
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.published_sizes import PUBLISHED, paper_unet_config, vae_config
from gendeg_core.types import Degradation
from tests.benchmarks.cases import usual_request

PAIRS = 550_000
SUSTAINED = (20, 100, 400)  # TFLOP/s that a GPU really reaches in convolutions and attention
DEVICES = (1, 16, 128)
PHOTOS = 3


def factory_report() -> str:
    """Stages of a run with each engine, then the projection."""
    lines = []
    measured = {}
    for engine in ("gendeg", "simulator"):
        measured[engine] = _measured_run(engine)
        lines += [*_stages(engine, measured[engine]), ""]
    return "\n".join([*lines, *_projection(measured)])


def _measured_run(engine: str) -> Status:
    """A run in this process on one thread, photos of 512 pixels, six degradations each."""
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder) / "photos")
        settings = PlanSettings(str(photos), engine=engine, photos_per_shard=PHOTOS)
        plan = Plan(settings, make_plan(settings))
        for _ in run_plan(plan, Path(folder) / "out", workers=0):
            pass
        return read_status(Path(folder) / "out")


def _photos(folder: Path) -> Path:
    """Views of scikit-learn's photos, 512 x 640, as JPEG."""
    from sklearn.datasets import load_sample_image

    folder.mkdir()
    for number in range(PHOTOS):
        image = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[number % 2]))
        view = image.crop((20 * number, 10, 20 * number + 500, 410)).resize((640, 512))
        view.save(folder / f"{number}.jpg", quality=95)
    return folder


def _stages(engine: str, status: Status) -> list[str]:
    wall = status.seconds["wall"] / status.items_timed
    title = (
        f"{engine}: {1000 * wall:.0f} ms per pair on one worker with one thread, {status.items_timed} pairs"
    )
    rows = [
        f"  {name:9}  {_milliseconds(name, status):8.1f}  {_share(name, status):5.1f} %" for name in STAGES
    ]
    beside = sum(_share(name, status) for name in STAGES if name not in MODEL)
    return [
        title,
        "  stage      ms busy   of the wall time",
        *rows,
        f"  all but the model: {beside:.1f} %; time with no model at work: {100 * status.outside:.1f} %",
    ]


def _milliseconds(name: str, status: Status) -> float:
    return 1000 * status.seconds.get(name, 0.0) / status.items_timed


def _share(name: str, status: Status) -> float:
    return 100 * status.seconds.get(name, 0.0) / status.seconds["wall"]


def _projection(measured: dict[str, Status]) -> list[str]:
    lines = [f"{PAIRS:,} pairs, projected"]
    for engine, status in measured.items():
        seconds = status.seconds["wall"] / status.items_timed * PAIRS
        size = status.bytes / status.made * PAIRS / 1e9
        lines.append(
            f"  {engine}, measured here: {_on_several(seconds)} workers like this one; {size:.0f} GB"
        )
    counted = {
        "the shipped weights at 512 pixels": shipped_flops(),
        "networks of the published size, 100 steps": published_flops(),
    }
    for name, flops in counted.items():
        lines.append(f"  {name}: {flops / 1e12:.2f} TFLOP per pair, counted; on GPUs that sustain")
        lines += [
            f"    {sustained:4} TFLOP/s: {_on_several(flops * PAIRS / (sustained * 1e12))}"
            for sustained in SUSTAINED
        ]
    return lines


def _on_several(seconds: float) -> str:
    """What `seconds` of one device become on several."""
    return ", ".join(f"{_duration(seconds / n)} on {n}" for n in DEVICES)


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def shipped_flops() -> float:
    """FLOP of one 512 x 640 pair by the shipped weights, over the six degradations."""
    pipeline, _ = load_pipeline(device=torch.device("cpu"))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(requires_grad=False)  # the counter would look for gradients
    photo = torch.rand(3, 512, 640, generator=torch.Generator().manual_seed(0))
    kinds = list(Degradation)
    requests = [usual_request(kind) for kind in kinds]
    return _flops(lambda: list(pipeline.iterate([photo] * len(kinds), requests))) / len(kinds)


def published_flops(steps: int = 100, branches: int = 3) -> float:
    """FLOP of one 512 x 512 pair by networks of the published size: sampling, decoding, half a round trip.

    Counted on networks without memory; the text encoder (once per prompt) is left out.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from gendeg_core.generate.structure import StructureCorrection

    with torch.device("meta"), torch.no_grad():
        unet, vae = UNet2DConditionModel(**paper_unet_config()), AutoencoderKL(**vae_config())
        structure = StructureCorrection()
        side = PUBLISHED.sample_size
        latents, text = (
            torch.empty(1, 8, side, side),
            torch.empty(1, PUBLISHED.text_tokens, PUBLISHED.text_width),
        )
        image = torch.empty(1, 3, 8 * side, 8 * side)
        passes = steps * branches * _flops(lambda: unet(latents, torch.tensor(1.0), text))
        decoded = _flops(lambda: vae.decode(latents[:, :4]))
        corrected = _flops(lambda: structure(image, image))
    # Three of the six degradations are corrected; the photo's round trip serves all six.
    return passes + decoded + corrected / 2 + decoded / 6


def _flops(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
