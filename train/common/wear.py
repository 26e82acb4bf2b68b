"""What files do to photos before anybody opens them: sizes change, and JPEG leaves its marks."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

SMALLEST, LARGEST = 0.5, 2.5  # side of the file beside that of the image
COMPRESSED = 0.8  # share that goes through JPEG
QUALITY = 50, 98


def worn(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3, H, W) bytes, resized to a file of another size, compressed there as a rule, and resized back."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    before = image.size
    factor = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
    width, height = (max(round(side * factor), 8) for side in before)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < COMPRESSED:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(QUALITY[0], QUALITY[1] + 1)))
        image = Image.open(file)
    resized = image.resize(before, Image.Resampling.BICUBIC)
    return np.asarray(resized).transpose(2, 0, 1)
