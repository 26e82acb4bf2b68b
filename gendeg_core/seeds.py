"""Seeds: every sample's randomness follows from (run seed, item id) and from nothing else.

Order, batch size and the number of workers therefore never change a result.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sample_seed(run_seed: int, item_id: str | int) -> int:
    """A 63-bit seed for one item of a run."""
    digest = hashlib.blake2b(f"{run_seed}/{item_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def torch_generator(seed: int) -> torch.Generator:
    """A CPU generator: numbers are drawn on the CPU and then moved, so that every device agrees."""
    import torch

    return torch.Generator().manual_seed(seed)
