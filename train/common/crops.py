"""What a restorer sees of a pair: a random crop, mirrored or turned, at the same place in both images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gendeg_core.seeds import sample_seed
from train.common.pairs import Pair, PairSource

Moves = Literal["none", "mirror", "turns", "always"]

# The eight symmetries of the square, as (quarter turns, mirrored); the first leaves everything as it is.
SYMMETRIES = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]
_ALLOWED: dict[Moves, list[tuple[int, bool]]] = {
    "none": SYMMETRIES[:1],
    "mirror": [(0, False), (0, True)],
    "turns": SYMMETRIES,
    "always": SYMMETRIES[1:],
}


@dataclass(frozen=True)
class CroppedPairs(PairSource):
    """Crops of `size` pixels out of the larger pairs of `source`.

    Args:
        moves: none; mirror, left and right exchanged half of the time; turns, any of the eight symmetries of
            the square; always, any of the seven that change something.
    """

    source: PairSource
    size: int
    moves: Moves = "mirror"

    def pair(self, seed: int, k: int) -> Pair:
        pair = self.source.pair(seed, k)
        rng = np.random.default_rng(sample_seed(seed, f"crop {k}"))
        height, width = pair["clean"].shape[-2:]
        top, left = (int(rng.integers(side - self.size + 1)) for side in (height, width))
        allowed = _ALLOWED[self.moves]
        turns, mirrored = allowed[int(rng.integers(len(allowed)))]

        def moved(image: Tensor) -> Tensor:
            crop = image[..., top : top + self.size, left : left + self.size]
            turned = torch.rot90(crop, turns, (-2, -1))
            return (turned.flip(-1) if mirrored else turned).contiguous()

        images = {"clean": moved(pair["clean"]), "degraded": moved(pair["degraded"])}
        return Pair(**{**pair, **images})  # pyright: ignore[reportArgumentType]
