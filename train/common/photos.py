"""Clean photos with captions: what every simulated training pair starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gendeg_core.dataset.captions import read_captions, unsuitable_photos
from train.common.errors import UsageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
HELD_OUT_EVERY = 10  # photo number k of the sorted list is held out when k % 10 == 0


@dataclass(frozen=True)
class PhotoRecord:
    path: Path
    caption: str
    border: int = 0  # pixels to cut off on every side (scan edges)


def list_photos(
    folder: Path, captions: Path | None = None, *, held: bool = False, border: int = 0
) -> list[PhotoRecord]:
    """Photos below `folder`, sorted; the training part or, with `held`, the held-out part.

    `captions` is a CSV with columns file (a photo's path in the folder, or a longer one), caption and
    optionally suitable (rows with 0 are left out). Without it every photo counts and captions are empty.

    Raises:
        UsageError: no photo is found, or the captions cannot be read.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    try:
        texts = read_captions(captions) if captions is not None else {}
        unsuitable = unsuitable_photos(captions) if captions is not None else set()
    except ValueError as error:
        raise UsageError(str(error)) from error
    records = []
    for number, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        names = {name, path.name}  # a file that names no folders counts for all of them
        if not names & unsuitable and (number % HELD_OUT_EVERY == 0) == held:
            records.append(PhotoRecord(path, texts.get(name, texts.get(path.name, "")), border))
    if not records:
        raise UsageError(f"no usable photo below {folder}; give a folder with at least {HELD_OUT_EVERY + 1}")
    return records


def read_crop(record: PhotoRecord, size: int, rng: np.random.Generator, largest_zoom: float = 3.0) -> Tensor:
    """A random size x size crop, (3, size, size) in [0, 1], of the photo shrunk by a random factor.

    Small crops of a large photo show texture, whole shrunk photos show scenes; the model needs both.
    """
    with Image.open(record.path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if record.border:
        image = ImageOps.crop(image, record.border)
    short = min(image.size)
    # A zoom of 1 has the whole short side inside the crop.
    zoom = rng.uniform(1, min(largest_zoom, max(short / size, 1)))
    scale = zoom * size / short
    width, height = (max(round(side * scale), size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, side - size + 1)) for side in (width, height))
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
