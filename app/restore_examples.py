"""Degraded photos to start the Restore tab with. They are simulated, so the clean photo is known."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path

from app.examples import example_photos
from gendeg_core.types import Degradation, DegradationRequest

LONG_SIDE = 480
# photo, degradation, mu, sigma: strengths at which the degradation is plain to see
RECIPES = (
    ("china", Degradation.HAZE, 0.22, 0.1),
    ("street", Degradation.RAIN, 0.1, 0.11),
    ("mountain_lake", Degradation.SNOW, 0.13, 0.14),
    ("flower", Degradation.MOTION_BLUR, 0.06, 0.08),
    ("street", Degradation.LOW_LIGHT, 0.36, 0.16),
    ("china", Degradation.RAINDROP, 0.06, 0.1),
)
_lock = threading.Lock()


@dataclass(frozen=True)
class DegradedExample:
    """A degraded photo and the clean one it was made from."""

    title: str
    path: Path
    clean: Path


def degraded_examples() -> tuple[DegradedExample, ...]:
    """All of them, made at the first call, beside the clean examples."""
    with _lock:
        return _made()


@functools.cache
def _made() -> tuple[DegradedExample, ...]:
    photos = {example.name: example.path for example in example_photos()}
    return tuple(
        _make(photos[name], DegradationRequest(kind, mu, sigma, seed=11))
        for name, kind, mu, sigma in RECIPES
        if name in photos
    )


def _make(photo: Path, request: DegradationRequest) -> DegradedExample:
    from PIL import Image

    from gendeg_core.images import read_photo, write_photo
    from gendeg_core.synthesize import SimulatorEngine, degrade

    kind = request.degradation.value
    clean = photo.parent / f"{photo.stem}_clean.png"
    degraded = photo.parent / f"{photo.stem}_{kind}.png"
    if not clean.exists():
        with Image.open(photo) as image:
            image.thumbnail((LONG_SIDE, LONG_SIDE))
            image.convert("RGB").save(clean)
    write_photo(degraded, degrade(read_photo(clean).pixels, request, SimulatorEngine()).degraded)
    return DegradedExample(request.degradation.label, degraded, clean)
