"""Where networks run."""

from __future__ import annotations

import torch


def pick_device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was too short; on a CPU torch says so only in the text of a RuntimeError."""
    told = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return told or isinstance(error, MemoryError | torch.OutOfMemoryError)
