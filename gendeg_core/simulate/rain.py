"""Rain: bright streaks over the scene, far rain merging into a veil.

Streaks are motion-blurred drops, lighter than what lies behind them because each drop shows a wide view of
the surroundings (Garg & Nayar 2007). Layers of streaks follow Yang et al. 2017 (Rain100H), accumulation Li
et al. 2019 (Outdoor-Rain).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gendeg_core.scatter.draw import chance, integer, log_uniform, normals, tint, uniform, uniforms
from gendeg_core.scatter.fields import fractal, gaussian_blur, read_field
from gendeg_core.scatter.particles import Lines, blend_in, in_short_sides, squares, thickness_of_lines
from gendeg_core.simulate.haze import airlight, depth_prior, scatter
from gendeg_core.simulate.strength import Render, finish

MOST_STREAKS = 5000  # per layer and square of the short side
SHARPEST = 0.0025  # wider streaks are out of focus: their light is spread, not opaque


def streaks(clean: Tensor, generator: torch.Generator) -> Render:
    """One to four layers of streaks in nearly one direction, with a light veil (Yang et al. 2017)."""
    cover, layers = log_uniform(generator, 0.04, 2.5), integer(generator, 1, 4)
    thickness = _layers(clean, generator, layers, cover, length=(0.05, 0.45), width=(0.0012, 0.006))
    veil = uniform(generator, 0, 0.35) if chance(generator, 0.4) else 0.0
    return _rain(clean, generator, thickness, veil)


def drizzle(clean: Tensor, generator: torch.Generator) -> Render:
    """Fine dense rain: short thin far streaks and a few near ones (sizes by depth: Garg & Nayar 2007)."""
    cover, layers = log_uniform(generator, 0.06, 2.0), integer(generator, 1, 2)
    far = _layers(clean, generator, layers, cover, length=(0.02, 0.09), width=(0.0012, 0.003))
    near = _layers(clean, generator, 1, 0.15 * cover, length=(0.06, 0.2), width=(0.0018, 0.004))
    veil = uniform(generator, 0, 0.5) if chance(generator, 0.5) else 0.0
    return _rain(clean, generator, far + near, veil)


def downpour(clean: Tensor, generator: torch.Generator) -> Render:
    """Heavy rain: dense streaks, and far rain that thickens with depth like fog (Li et al. 2019)."""
    height, width = clean.shape[-2:]
    cover, layers = log_uniform(generator, 0.3, 3.0), integer(generator, 2, 4)
    thickness = _layers(clean, generator, layers, cover, length=(0.06, 0.4), width=(0.0012, 0.005))
    depth = depth_prior(generator, height, width)
    depth = depth * (0.6 + 0.8 * read_field(fractal(generator, 3.0), height, width))
    colour, beta = airlight(clean, generator), uniform(generator, 0.1, 1.5)
    rainy = _rain(clean, generator, thickness, 0.0)
    # Squared, so that streaks come before fog: faint rain is still rain.
    return finish(clean, lambda strength: scatter(rainy(strength), strength**2 * beta * depth, colour))


def _layers(
    clean: Tensor,
    generator: torch.Generator,
    layers: int,
    cover: float,
    *,
    length: tuple[float, float],
    width: tuple[float, float],
) -> Tensor:
    """(BUCKETS, H, W) thickness of several layers that fall in nearly one direction.

    Args:
        cover: area of all streaks together over the area of the image.
        length, width: ranges of one streak, in short sides.
    """
    rows, columns = clean.shape[-2:]
    tall, wide = in_short_sides(rows, columns)
    slant = math.radians(max(-55.0, min(55.0, 22 * normals(generator, 1).item())))
    hard = chance(generator, 0.4)  # opaque streaks, as drawn by Rain100H
    total = torch.zeros(())
    for _ in range(layers):
        span, thin = log_uniform(generator, *length), log_uniform(generator, *width)
        count = min(MOST_STREAKS, cover / layers / (2.5 * thin * span))
        number = max(4, round(count * squares(tall, wide)))
        angle = slant + normals(generator, number) * math.radians(uniform(generator, 0.3, 5))
        along = span * uniforms(generator, number, 0.6, 1.4)
        densest = uniform(generator, 0.9, 0.99) if hard else log_uniform(generator, 0.3, 0.97)
        lines = Lines(
            # Centres lie outside too, so that the border is as full as the middle.
            y=uniforms(generator, number, -span / 2, 1 + span / 2) * tall,
            x=uniforms(generator, number, -span / 2, 1 + span / 2) * wide,
            along_y=along * torch.cos(angle),
            along_x=along * torch.sin(angle),
            opacity=densest
            * min(1.0, SHARPEST / thin)
            * uniforms(generator, number, 0.85 if hard else 0.4, 1.0),
            width=thin,
        )
        total = total + thickness_of_lines(lines, rows, columns)
    return total


def _rain(clean: Tensor, generator: torch.Generator, thickness: Tensor, veil: float) -> Render:
    """Blend streaks of the surroundings' light over the scene, then a uniform veil."""
    short = min(clean.shape[-2:])
    gain, offset = uniform(generator, 1.1, 1.8), uniform(generator, 0, 0.2)
    behind = gaussian_blur(clean, 0.12 * short)
    surroundings = behind * gain + offset
    white = uniform(generator, 0.7, 1.0) + tint(generator, 0.03)
    share = uniform(generator, 0, 0.7) if chance(generator, 0.7) else 0.0
    # Never darker than what lies behind: drops gather light from above too (Garg & Nayar 2007).
    light = torch.maximum(share * surroundings + (1 - share) * white, behind).clamp(0, 1)
    fog = (uniform(generator, 0.5, 0.95) + tint(generator, 0.03)).clamp(0, 1)
    ease = uniform(generator, 0.0, 0.6)  # how much the streaks also fade at low strength
    highest = uniform(generator, 0.8, 1.0)

    def raw(strength: float) -> Tensor:
        opacity = highest * strength**ease * (1 - torch.exp(-blend_in(thickness, strength)))
        rainy = clean + (light - clean) * opacity
        return rainy + (fog - rainy) * (veil * strength**2)

    return finish(clean, raw)
