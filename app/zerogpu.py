"""The `spaces` package of Hugging Face where it exists, and a decorator that changes nothing elsewhere.

Import this file before anything that touches CUDA: `spaces` patches torch when ZeroGPU is on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

try:
    import spaces  # pyright: ignore[reportMissingImports] - only Spaces have it
except ImportError:
    spaces = None

ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def gpu_task(seconds: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function that needs the GPU for at most `seconds`.

    On ZeroGPU it then runs in a forked worker: its arguments and what it yields are pickled, and nothing it
    changes in this process's memory comes back.
    """
    if spaces is None:
        return lambda function: function
    return spaces.GPU(duration=seconds)
