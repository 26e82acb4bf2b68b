"""Fixed statistics of texture of a pool of pairs, computed once and kept beside it.

They cost more than a training step on them, and no training changes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from gendeg_core.embed.texture import STATISTICS, TextureStem
from gendeg_core.seeds import sample_seed
from train.common.pool import PairPool, derived
from train.common.wear import worn

TOGETHER = 8


class TexturePool:
    """The pairs of `pool` as `statistics` (2, channels, h, w) of the clean and of the degraded image, in half
    precision, with the notes of the pair: whole, never flipped, each entry once in every pass.

    Args:
        normalise: what the stem's images have gone through.
        wear: share of the degraded images that are `worn` before anything is computed of them.
    """

    def __init__(
        self,
        pool: PairPool,
        stem: TextureStem,
        normalise: Callable[[Tensor], Tensor],
        wear: float,
        folder: Path,
        accelerator: Accelerator,
    ) -> None:
        self.pool = pool

        def describe(chunk: np.ndarray, first: int) -> np.ndarray:
            parts = []
            for k in range(0, len(chunk), TOGETHER):
                pairs = worn_pairs(chunk[k : k + TOGETHER], wear, first + k)
                images = torch.from_numpy(pairs).to(accelerator.device)
                found = stem.statistics(normalise(images.flatten(0, 1).float() / 255))
                parts.append(found.unflatten(0, (-1, 2)).half().cpu().numpy())
            return np.concatenate(parts)

        name = f"texture-{stem.patch}-{STATISTICS}" + (f"-wear-{wear:g}" if wear else "")
        self.chunks = derived(pool, folder / name, describe, accelerator, "statistics of texture")

    def pair(self, seed: int, k: int) -> dict[str, Any]:
        """Pair k of the order that the seed gives."""
        chunk, place, _ = self.pool.place(seed, k)
        statistics = torch.from_numpy(self.chunks[chunk][place].copy())
        return {"statistics": statistics, **self.pool.note(chunk, place)}


def worn_pairs(pairs: np.ndarray, wear: float, first: int) -> np.ndarray:
    """A copy of pairs (N, 2, 3, S, S) in which that share of the degraded images is worn.

    Args:
        first: number of the first of them in the pool, from which all randomness follows.
    """
    pairs = pairs.copy()
    for k, (_, degraded) in enumerate(pairs):
        rng = np.random.default_rng(sample_seed(0, f"wear {first + k}"))
        if rng.random() < wear:
            degraded[:] = worn(degraded, rng)
    return pairs
