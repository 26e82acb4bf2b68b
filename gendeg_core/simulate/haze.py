"""Haze: I = J t + A (1 - t), t = exp(-beta d) (Koschmieder 1924; Narasimhan & Nayar 2002, equation 1).

Depth d is not known for a single photo. It comes from a prior here: a ground plane below a horizon, far above
it, made uneven by fractal noise. That is a prior, not a measurement: haze may cross object borders.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gendeg_core.scatter.draw import chance, integer, log_uniform, tint, uniform
from gendeg_core.scatter.fields import fractal, read_field, relative_grid, resize, smoothstep
from gendeg_core.simulate.strength import Render, finish


def scatter(clean: Tensor, optical_depth: Tensor, airlight: Tensor) -> Tensor:
    """Koschmieder's equation.

    Args:
        clean: J, (3, H, W) in [0, 1].
        optical_depth: beta * d, (H, W) or (3, H, W), >= 0.
        airlight: A, (3, 1, 1) in [0, 1].
    """
    transmission = torch.exp(-optical_depth)
    return airlight + (clean - airlight) * transmission


def homogeneous(clean: Tensor, generator: torch.Generator) -> Render:
    """Even haze over a scene of varying depth (Koschmieder; synthesis as in RESIDE, Li et al. 2019)."""
    height, width = clean.shape[-2:]
    depth = depth_prior(generator, height, width)
    roughness = uniform(generator, 0, 0.8)
    depth = depth * (1 - roughness + 2 * roughness * read_field(fractal(generator, 3.2), height, width))
    return _haze(clean, generator, depth)


def patchy(clean: Tensor, generator: torch.Generator) -> Render:
    """Banks of fog: the density itself is fractal noise (non-homogeneous haze: NH-HAZE, Ancuti 2020)."""
    height, width = clean.shape[-2:]
    clouds = read_field(fractal(generator, uniform(generator, 3.0, 4.5)), height, width)
    density = smoothstep(uniform(generator, -0.2, 0.4), uniform(generator, 0.85, 1.2), clouds)
    density = density ** uniform(generator, 0.7, 2.5)
    floor = uniform(generator, 0.05, 0.4)
    share = uniform(generator, 0, 0.8)
    depth = depth_prior(generator, height, width)
    return _haze(
        clean, generator, (floor + (1 - floor) * density) * (1 - share + share * depth), thickest=3.5
    )


def layered(clean: Tensor, generator: torch.Generator) -> Render:
    """Fog in layers: density falls exponentially with the distance from a level (exponential atmosphere).

    The level lies anywhere: ground fog below, low cloud above, a bank across the middle. Its edge is wavy.
    """
    height, width = clean.shape[-2:]
    y, x = relative_grid(height, width)
    level = uniform(generator, -0.1, 1.1) + uniform(generator, -0.25, 0.25) * (x - 0.5)
    waves = uniform(generator, 0.05, 0.5) * (read_field(fractal(generator, 3.2), height, width) - 0.5)
    distance = y - level + waves
    above, below = log_uniform(generator, 0.05, 0.6), log_uniform(generator, 0.05, 0.6)
    density = torch.where(distance < 0, torch.exp(distance / above), torch.exp(-distance / below))
    floor = uniform(generator, 0, 0.25)
    return _haze(clean, generator, floor + (1 - floor) * density)


def depth_prior(generator: torch.Generator, height: int, width: int) -> Tensor:
    """(height, width) depth from 0 (near) to 1 (sky): a planar ground under a tilted horizon."""
    y, x = relative_grid(height, width)
    horizon = uniform(generator, -0.2, 0.75) + uniform(generator, -0.2, 0.2) * (x - 0.5)
    # On a plane seen in perspective, depth is one over the distance below the horizon.
    nearness = uniform(generator, 0.03, 0.6)
    ground = nearness / (nearness + (y - horizon).clamp(min=0))
    near = uniform(generator, 0, 0.5)
    return near + (1 - near) * ground


def airlight(clean: Tensor, generator: torch.Generator) -> Tensor:
    """(3, 1, 1) colour of the haze: mostly bright and grey, sometimes dim, warm (dust) or cold (dusk).

    Haze is lit by the same sky as the scene, so it is never much darker than the scene's bright parts.
    """
    bright = uniform(generator, 0.75, 1.0) if chance(generator, 0.75) else uniform(generator, 0.4, 0.75)
    small = resize(clean, *(max(1, round(32 * n / max(clean.shape[-2:]))) for n in clean.shape[-2:]))
    bright = max(bright, 0.85 * small.mean(0).quantile(0.9).item())
    spread = 0.12 if chance(generator, 0.15) else 0.035
    return (bright + tint(generator, spread)).clamp(0, 1)


def _haze(clean: Tensor, generator: torch.Generator, depth: Tensor, thickest: float = 8.0) -> Render:
    """Scatter light over a relative depth (H, W); `thickest` bounds the optical depth at strength 1."""
    colour = airlight(clean, generator)
    beta = log_uniform(generator, 1.5, thickest)
    # Small droplets scatter blue more than red; fog does not (Narasimhan & Nayar 2002, section 2).
    wavelength = 1 + torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1) * uniform(generator, 0, 0.15)
    per_channel = integer(generator, 0, 2) == 0
    depth = depth * wavelength if per_channel else depth
    return finish(clean, lambda strength: scatter(clean, strength * beta * depth, colour))
