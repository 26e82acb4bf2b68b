"""Where drops sit on the glass: random arrangements of discs and trails, and what each pixel sees of them.

Drops are a Boolean model, discs of random size at random places (Chiu et al., Stochastic Geometry and its
Applications, 2013), drawn out by gravity; running water leaves winding chains of discs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.scatter.draw import log_uniform, normals, uniform, uniforms
from gendeg_core.scatter.particles import Discs, in_short_sides, outline_distance, patches_around, squares

MOST_DROPS = 700  # per square of the short side
_FADE = 0.15  # share of the drops that are half there at any strength


@dataclass(frozen=True)
class Arrangement:
    """Discs on a pane, in units of the short side; `opacity` is the rank in which they appear.

    Args:
        upright: (N,) 1 for the links of a trail, 0 for drops.
    """

    discs: Discs
    upright: Tensor

    def spread(self, tall: float, wide: float) -> Arrangement:
        """With the places this much further down and to the right, the discs as large as before."""
        discs = replace(self.discs, y=self.discs.y * tall, x=self.discs.x * wide)
        return Arrangement(discs, self.upright)

    def limited_to(self, strength: float) -> Arrangement:
        """Without the discs that have not begun to appear at `strength`."""
        there = self.discs.opacity < strength * (1 + _FADE)
        return Arrangement(Discs(*(values[there] for values in _fields(self.discs))), self.upright[there])


@dataclass(frozen=True)
class Pane:
    """What each pixel sees of the drops, all (H, W).

    Args:
        q: distance from the drop's centre, 1 at the outline and beyond.
        u, v: position inside the drop, right and down, -1 to 1.
        radius: of the drop, in pixels. rank: its turn to appear, 0 to 1. softness: of its edge.
        upright: 0 for a drop (a round lens), 1 for a trail (bends sideways only).
    """

    q: Tensor
    u: Tensor
    v: Tensor
    radius: Tensor
    rank: Tensor
    softness: Tensor
    upright: Tensor

    @cached_property
    def mask(self) -> Tensor:
        """(H, W) how much of each pixel is water, 0 to 1, softly at the outlines."""
        soft = torch.maximum(self.softness, 1.3 / self.radius).clamp(max=1)
        inside = ((1 - self.q) / soft).clamp(0, 1)
        return inside * inside * (3 - 2 * inside)

    def there(self, strength: float) -> Tensor:
        """(H, W) how far the drop that each pixel sees has appeared at `strength`, 0 to 1."""
        return ((strength * (1 + _FADE) - self.rank) / _FADE).clamp(0, 1)

    def water(self, strength: float) -> float:
        """Share of the picture under water, 0 to 1."""
        return (self.mask * self.there(strength)).mean().item()

    def layout(self, strength: float) -> Tensor:
        """(3, H, W) where the water is at `strength`: mask, and the position inside the drop, right and down.

        The mask is 0 to 1, the positions are -1 to 1 and 0 without water; along a trail all is as in its
        middle.
        """
        mask = self.mask * self.there(strength)
        wet = (mask > 0).to(mask)
        return torch.stack((mask, self.u * wet, self.v * wet * (1 - self.upright))).clamp(-1, 1)


def sharp_drops(height: int, width: int, generator: torch.Generator) -> Arrangement:
    """Drops with clear outlines."""
    largest = uniform(generator, 0.035, 0.12)
    cover = log_uniform(generator, 0.05, 1.8)
    return _drops(_scatter(height, width, generator, cover, (largest / 8, largest), (0.06, 0.2)))


def soft_drops(height: int, width: int, generator: torch.Generator) -> Arrangement:
    """Drops out of focus."""
    largest = uniform(generator, 0.05, 0.13)
    cover = log_uniform(generator, 0.1, 2.0)
    return _drops(_scatter(height, width, generator, cover, (largest / 7, largest), (0.25, 0.7)))


def trails_and_drops(height: int, width: int, generator: torch.Generator) -> Arrangement:
    """Trails that end in a heavy drop, among small resting drops."""
    trails = _trails(height, width, generator)
    resting = _drops(
        _scatter(height, width, generator, log_uniform(generator, 0.02, 0.6), (0.012, 0.05), (0.08, 0.3))
    )
    discs = Discs(
        *(torch.cat(pair) for pair in zip(_fields(trails.discs), _fields(resting.discs), strict=True))
    )
    return Arrangement(discs, torch.cat((trails.upright, resting.upright)))


ARRANGEMENTS: dict[str, Callable[[int, int, torch.Generator], Arrangement]] = {
    "drops": sharp_drops,
    "blurred_drops": soft_drops,
    "running": trails_and_drops,
}


def _drops(discs: Discs) -> Arrangement:
    return Arrangement(discs, torch.zeros(len(discs.y)))


def pane_of(arrangement: Arrangement, height: int, width: int) -> Pane:
    """Which drop each pixel sees: the one it lies deepest in."""
    discs, upright = arrangement.discs, arrangement.upright
    short = min(height, width)
    radius = (discs.radius * short).clamp(min=0.7)
    y, x = discs.y * short, discs.x * short
    reach = radius * discs.stretch.sqrt() * (1 + discs.wobble) + 1
    q = torch.ones(height * width)
    maps = torch.zeros(6, height * width)
    for patches in patches_around(y, x, reach, height, width):
        which = patches.which[:, None].expand_as(patches.pixel)
        distance = outline_distance(discs, radius, patches)
        covered = patches.inside & (distance < 1)
        pixel, distance, which = patches.pixel[covered], distance[covered], which[covered]
        q.scatter_reduce_(0, pixel, distance, "amin")
        deepest = q[pixel] == distance
        pixel, which = pixel[deepest], which[deepest]
        scale = radius[which]
        u, v = patches.dx[covered][deepest] / scale, patches.dy[covered][deepest] / scale
        maps[:, pixel] = torch.stack(
            (u, v, scale, discs.opacity[which], discs.softness[which], upright[which])
        )
    u, v, scale, rank, softness, straight = maps.view(6, height, width)
    return Pane(q.view(height, width), u, v, scale.clamp(min=0.7), rank, softness, straight)


def _fields(discs: Discs) -> tuple[Tensor, ...]:
    return (
        discs.y,
        discs.x,
        discs.radius,
        discs.stretch,
        discs.angle,
        discs.softness,
        discs.wobble,
        discs.phase,
        discs.opacity,
    )


def _scatter(
    height: int,
    width: int,
    generator: torch.Generator,
    cover: float,
    radius: tuple[float, float],
    softness: tuple[float, float],
) -> Discs:
    """Drops anywhere on the pane, many small and few large; `cover` is their area, `opacity` their rank."""
    tall, wide = in_short_sides(height, width)
    crowding = uniform(generator, 0.8, 2.2)
    expected = radius[0] * (radius[1] / radius[0]) ** (torch.linspace(0, 1, 64) ** crowding)
    area = math.pi * expected.square().mean().item()
    number = max(3, round(min(MOST_DROPS, cover / area) * squares(tall, wide)))
    size = radius[0] * (radius[1] / radius[0]) ** (uniforms(generator, number) ** crowding)
    return Discs(
        y=uniforms(generator, number, -0.03, 1.03) * tall,
        x=uniforms(generator, number, -0.03, 1.03) * wide,
        radius=size,
        # Even, round drops of one size would be soap bubbles.
        stretch=uniforms(generator, number, 1.0, uniform(generator, 1.3, 2.2)),
        # Gravity draws drops out downwards.
        angle=math.pi / 2 + 0.35 * normals(generator, number),
        softness=uniforms(generator, number, *softness),
        wobble=uniforms(generator, number, 0.05, uniform(generator, 0.15, 0.45)),
        phase=uniforms(generator, number, 0, 2 * math.pi),
        opacity=uniforms(generator, number),
    )


def _trails(height: int, width: int, generator: torch.Generator) -> Arrangement:
    """Chains of overlapping discs along winding downward paths; the last is the drop that runs."""
    tall, wide = in_short_sides(height, width)
    trails = max(1, round(log_uniform(generator, 3, 40) * squares(1, wide)))
    links = 48
    length = uniforms(generator, trails, 0.1, 0.9) * tall
    head = uniforms(generator, trails, 0.02, uniform(generator, 0.03, 0.07))
    t = torch.linspace(0, 1, links)[None]  # from the top of the trail to the drop
    y = uniforms(generator, trails, 0.1, 1.15)[:, None] * tall + (t - 1) * length[:, None]
    wander = torch.randn(trails, links, generator=generator).cumsum(1)
    kernel = torch.ones(1, 1, 9) / 9
    wander = F.conv1d(F.pad(wander[:, None], (4, 4), mode="replicate"), kernel)[:, 0]
    x = uniforms(generator, trails)[:, None] * wide + wander * 0.25 * head[:, None]
    pulse = 0.75 + 0.25 * torch.sin(t * uniforms(generator, trails, 8, 40)[:, None])
    radius = head[:, None] * (0.25 + 0.35 * t**2) * pulse
    radius = torch.cat((radius[:, :-1], head[:, None]), dim=1)
    upright = torch.ones(trails, links)
    upright[:, -1] = 0
    number = trails * links
    rank = uniforms(generator, trails)[:, None].expand(-1, links).flatten()
    flat = torch.zeros(number)
    discs = Discs(
        y=y.flatten(),
        x=x.flatten(),
        radius=radius.flatten(),
        stretch=flat + 1.25,
        angle=flat + math.pi / 2,
        softness=flat + uniform(generator, 0.15, 0.6),
        wobble=flat,
        phase=flat,
        opacity=rank,
    )
    return Arrangement(discs, upright.flatten())
