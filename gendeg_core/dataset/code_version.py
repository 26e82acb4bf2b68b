"""Which code made a row: the release, a digest of every module that decides its bytes, the main libraries."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

# Modules and folders of gendeg_core; what only reads, shows or moves finished data is left out.
_DECIDES = (
    *("types.py", "seeds.py", "statistics.py", "synthesize.py", "nafnet_blocks.py", "tiles.py"),
    *("generate", "scatter", "simulate", "images"),
    *(f"dataset/{name}.py" for name in ("engines", "make", "plan", "shards", "schema", "filters")),
)
_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow", "opencv-python-headless", "pyarrow")


@functools.cache
def code_version() -> str:
    """For example `0.1.0+3f9a0c1d torch 2.15.0 ...`; equal strings mean equal code."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=6)
    for name in _DECIDES:
        place = root / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    libraries = " ".join(f"{name} {_release(name)}" for name in _LIBRARIES)
    return f"{_release('gendeg-studio')}+{digest.hexdigest()} {libraries}"


def _release(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
        return "0"
