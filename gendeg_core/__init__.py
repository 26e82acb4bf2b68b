"""GenDeg Studio's library: make, measure and undo image degradations.

Names are imported on first use, so that `import gendeg_core` stays fast.
"""

from __future__ import annotations

import importlib

# public name -> module that defines it; never the name of a module, which would hide it once that is imported
_PUBLIC = {
    "Degradation": "gendeg_core.types",
    "DegradationRequest": "gendeg_core.types",
    "DegradationResult": "gendeg_core.types",
    "GenDegPipeline": "gendeg_core.generate.pipeline",
    "degradation_map": "gendeg_core.statistics",
    "degrade": "gendeg_core.synthesize",
    "draw_intensity": "gendeg_core.statistics",
    "load_engine": "gendeg_core.synthesize",
    "measure": "gendeg_core.statistics",
}

__all__ = list(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gendeg_core' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
