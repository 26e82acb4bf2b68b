"""Snow: white flakes of several depths, near ones large and out of focus, far ones small, with a veil.

Flake sizes, transparency and blur by depth follow Liu et al. 2018 (Snow100K); blown streaks and the veiling
effect follow Chen et al. 2021 (CSD).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gendeg_core.scatter.draw import chance, integer, log_uniform, normals, tint, uniform, uniforms
from gendeg_core.scatter.fields import fractal, read_field
from gendeg_core.scatter.particles import (
    Discs,
    Lines,
    blend_in,
    in_short_sides,
    squares,
    thickness_of_discs,
    thickness_of_lines,
)
from gendeg_core.simulate.haze import airlight, depth_prior, scatter
from gendeg_core.simulate.strength import Render, finish


def flakes(clean: Tensor, generator: torch.Generator) -> Render:
    """Quiet snowfall: far dots, middle flakes with irregular outlines, near blurred ones (Snow100K)."""
    amount = log_uniform(generator, 0.3, 5.0)
    thickness = _flake_layer(clean, generator, amount * 900, (0.0025, 0.006), (0.5, 1.0), 0.12)
    thickness = thickness + _flake_layer(clean, generator, amount * 220, (0.006, 0.014), (0.3, 0.9), 0.2)
    if chance(generator, 0.6):
        thickness = thickness + _flake_layer(clean, generator, amount * 22, (0.015, 0.05), (0.5, 1.0), 0.15)
    return _snow(clean, generator, thickness, veil=chance(generator, 0.4))


def large_flakes(clean: Tensor, generator: torch.Generator) -> Render:
    """Few large flakes near the lens, most of them out of focus (the large class of Snow100K)."""
    amount = log_uniform(generator, 0.2, 4.0)
    thickness = _flake_layer(clean, generator, amount * 60, (0.012, 0.04), (0.55, 1.0), 0.2)
    thickness = thickness + _flake_layer(clean, generator, amount * 200, (0.004, 0.01), (0.4, 1.0), 0.2)
    return _snow(clean, generator, thickness, veil=chance(generator, 0.3))


def blizzard(clean: Tensor, generator: torch.Generator) -> Render:
    """Wind-blown snow: flakes drawn out along the wind, and a veil (Chen et al. 2021)."""
    height, width = clean.shape[-2:]
    tall, wide = in_short_sides(height, width)
    wind = uniform(generator, -math.pi / 2, math.pi / 2)
    thickness = torch.zeros(())
    for _ in range(integer(generator, 2, 4)):
        size = log_uniform(generator, 0.0015, 0.012)
        number = max(4, round(log_uniform(generator, 0.25, 4.0) * 0.06 / size**1.2 * squares(tall, wide)))
        angle = wind + normals(generator, number) * uniform(generator, 0.02, 0.25)
        along = size * uniform(generator, 2, 12) * uniforms(generator, number, 0.4, 1.6)
        opacity = uniform(generator, 0.4, 0.97) * uniforms(generator, number, 0.4, 1.0)
        lines = Lines(
            uniforms(generator, number, -0.05, 1.05) * tall,
            uniforms(generator, number, -0.05, 1.05) * wide,
            along * torch.cos(angle),
            along * torch.sin(angle),
            opacity,
            width=size,
        )
        thickness = thickness + thickness_of_lines(lines, height, width)
    return _snow(clean, generator, thickness, veil=chance(generator, 0.7))


def _flake_layer(
    clean: Tensor,
    generator: torch.Generator,
    count: float,
    radius: tuple[float, float],
    softness: tuple[float, float],
    wobble: float,
) -> Tensor:
    """(BUCKETS, H, W) thickness of flakes at one depth; `count` per square of the short side."""
    height, width = clean.shape[-2:]
    tall, wide = in_short_sides(height, width)
    number = max(4, round(count * log_uniform(generator, 0.5, 2.0) * squares(tall, wide)))
    size = radius[0] * (radius[1] / radius[0]) ** uniforms(generator, number)
    densest = uniform(generator, 0.6, 0.97)
    discs = Discs(
        y=uniforms(generator, number, -0.05, 1.05) * tall,
        x=uniforms(generator, number, -0.05, 1.05) * wide,
        radius=size,
        stretch=uniforms(generator, number, 1.0, uniform(generator, 1.05, 1.5)),
        angle=uniforms(generator, number, 0, math.pi),
        softness=uniforms(generator, number, *softness),
        wobble=uniforms(generator, number, 0, wobble),
        phase=uniforms(generator, number, 0, 2 * math.pi),
        opacity=densest * uniforms(generator, number, 0.35, 1.0),
    )
    return thickness_of_discs(discs, height, width)


def _snow(clean: Tensor, generator: torch.Generator, thickness: Tensor, *, veil: bool) -> Render:
    """Blend flakes over the scene, under a fog of falling snow that thickens with depth."""
    height, width = clean.shape[-2:]
    white = (uniform(generator, 0.82, 1.0) + tint(generator, 0.02)).clamp(0, 1)
    depth = depth_prior(generator, height, width) * (
        0.6 + 0.8 * read_field(fractal(generator, 3), height, width)
    )
    colour, beta = airlight(clean, generator), uniform(generator, 0.1, 1.4) if veil else 0.0
    ease = uniform(generator, 0.1, 0.8)

    def raw(strength: float) -> Tensor:
        foggy = scatter(clean, strength**1.5 * beta * depth, colour) if veil else clean
        opacity = strength**ease * (1 - torch.exp(-blend_in(thickness, strength)))
        return foggy + (white - foggy) * opacity

    return finish(clean, raw)
