"""Square crops from a folder of photos, for the coverage report and the contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
BORDER = 10  # pixels cut off on each side: scanned photos have dark edges


def list_photos(folder: Path) -> list[Path]:
    """All photos in `folder`, sorted; ValueError if there are none."""
    photos = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not photos:
        raise ValueError(
            f"no photos ({', '.join(sorted(SUFFIXES))}) in {folder}; name a folder that has some"
        )
    return photos


def load_square(path: Path, size: int) -> Tensor:
    """(3, size, size) the middle square of a photo, float32 RGB in [0, 1]."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if min(image.size) > 4 * BORDER:
        image = image.crop((BORDER, BORDER, image.width - BORDER, image.height - BORDER))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
