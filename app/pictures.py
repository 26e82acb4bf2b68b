"""Pictures on their way to the browser: files in Gradio's cache, exact where they are not too large."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

EXACT_PIXELS = 4_000_000  # above, a PNG takes seconds to pack and tens of megabytes to send


def browser_file(pixels: np.ndarray) -> str:
    """A file that the page may show of bytes (h, w, 3): PNG, for large pictures JPEG of high quality."""
    exact = pixels.shape[0] * pixels.shape[1] <= EXACT_PIXELS
    name = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    path = Path(get_upload_folder()) / name / f"picture{'.png' if exact else '.jpg'}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if exact:
            Image.fromarray(pixels).save(path, compress_level=1)
        else:
            Image.fromarray(pixels).save(path, quality=95, subsampling=0)
    return str(path)
