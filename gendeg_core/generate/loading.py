"""Opening a folder of GenDeg weights, the shipped one by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging

from gendeg_core.device import pick_device
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.paths import WEIGHTS

SHIPPED = WEIGHTS / "gendeg"


def load_pipeline(
    weights: str | Path | None = None, device: torch.device | None = None
) -> tuple[GenDegPipeline, str]:
    """The pipeline stored in `weights` (default: the shipped weights) in float32, and its identity.

    Raises:
        OSError: the folder is missing, incomplete or damaged.
    """
    folder = Path(weights) if weights is not None else SHIPPED
    if not (folder / "model_index.json").is_file():
        raise OSError(f"no GenDeg weights in {folder}: model_index.json is missing; give a converted folder")
    try:
        with _quietly():
            pipeline = GenDegPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except Exception as error:  # whatever diffusers, safetensors or json raise, the folder is what is wrong
        raise OSError(f"the GenDeg weights in {folder} cannot be read: {error}") from error
    pipeline.to(device or pick_device())
    for denoiser in (pipeline.unet, pipeline.drop_unet, pipeline.motion_unet):
        if denoiser is not None:
            denoiser.to(memory_format=torch.channels_last)
    return pipeline, pipeline.weights_identity


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars while a few megabytes are read."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()
