"""Where raindrops lie on the pane, for a denoiser that is told it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gendeg_core.scatter.panes import ARRANGEMENTS, Arrangement, Pane, pane_of
from gendeg_core.scatter.particles import in_short_sides
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.types import DegradationRequest

SEARCH_SIZE = 128  # short side at which the share of water is measured
CANDIDATES = 12
# Of the share, in the logarithm; with less trails would seldom be chosen, of which there are but a few.
CLOSE_ENOUGH = 0.2
_HALVINGS = 8
_CORRECTIONS = 2


@dataclass(frozen=True)
class DropLayout:
    """Drops on a pane, of which those of the first ranks are there.

    Args:
        strength: how many, 0 (none) to 1 (all), as in the simulators.
        sides: height and width of the pane in short sides.
    """

    arrangement: Arrangement
    strength: float
    sides: tuple[float, float]

    def at(self, height: int, width: int) -> Tensor:
        """The layout at a size in pixels, (3, height, width), see `Pane.layout`."""
        there = self.arrangement.limited_to(self.strength)  # a drop still to come hides none
        # The base image of a very long photo is squeezed, and drops have to stay at its places.
        wide = (now / drawn for now, drawn in zip(in_short_sides(height, width), self.sides, strict=True))
        return pane_of(there.spread(*wide), height, width).layout(self.strength)


def usual_water(mu: float, sigma: float) -> float:
    """The share of the picture under water in simulated raindrops of this mu and sigma.

    A power law fitted to 3,000 simulated pairs; half of them are within a factor of 1.4 of it.
    """
    return min(2.96 * (mu + 1e-3) ** 0.60 * (sigma + 1e-3) ** 0.33, 0.9)


def draw_drops(request: DegradationRequest, height: int, width: int) -> DropLayout:
    """Drops with the usual share of water; it depends on the request and the shape alone.

    Args:
        height, width: of the picture, for its ratio.
    """
    short = min(height, width)
    small = (max(round(side * SEARCH_SIZE / short), 1) for side in (height, width))
    small_height, small_width = small
    wanted = usual_water(request.mu, request.sigma)
    best, least = None, math.inf
    for number in range(CANDIDATES):
        generator = torch_generator(sample_seed(request.seed, f"layout {number}"))
        names = list(ARRANGEMENTS)
        name = names[(sample_seed(request.seed, "arrangement") + number) % len(names)]
        arrangement = ARRANGEMENTS[name](small_height, small_width, generator)
        pane = pane_of(arrangement, small_height, small_width)
        reached = pane.water(_strength_for(pane, wanted))
        error = abs(math.log((reached + 1e-3) / (wanted + 1e-3)))
        if error < least:
            best, least = (arrangement, pane), error
        if error < CLOSE_ENOUGH:
            break
    assert best is not None, "the first candidate is always taken"
    arrangement, pane = best
    sides = in_short_sides(small_height, small_width)
    aim, layout = wanted, DropLayout(arrangement, 1.0, sides)
    for _ in range(_CORRECTIONS):  # on the pane of all drops those still to come hide others
        layout = DropLayout(arrangement, _strength_for(pane, aim), sides)
        water = layout.at(small_height, small_width)[0].mean().item()
        aim *= (wanted + 1e-3) / (water + 1e-3)
    return layout


def _strength_for(pane: Pane, water: float) -> float:
    """The strength at which this share of the pane is under water."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if pane.water(middle) < water else (low, middle)
    return high
