"""Low light: fewer photons, then the sensor's noise; or a dimmer, uneven illumination.

Noise in linear light has a variance of a * light + b, Poisson plus Gaussian (Foi et al. 2008). Dimming
follows the image = reflectance * illumination model of Retinex (Land 1977) with tone curves as in Zero-DCE
(Guo et al. 2020, used here in the darkening direction).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.scatter.draw import chance, integer, log_uniform, tint, uniform
from gendeg_core.scatter.fields import fractal, read_field, relative_grid
from gendeg_core.simulate.colour import to_linear, to_srgb
from gendeg_core.simulate.strength import Render, finish

GRAIN_CELLS = 256  # cells of the grain tile along the short side


def sensor(clean: Tensor, generator: torch.Generator) -> Render:
    """A short exposure in linear light with sensor noise, sometimes pushed by gain (Foi et al. 2008)."""
    light = to_linear(clean)
    stops = uniform(generator, 2.5, 8.0)
    shot, read = log_uniform(generator, 1e-4, 6e-3), log_uniform(generator, 3e-4, 8e-3)
    contrast = uniform(generator, 0, 0.6)
    balance = 1 + tint(generator, 0.25 if chance(generator, 0.25) else 0.05)
    noise = grain(generator, *clean.shape[-2:])
    clumps = uniform(generator, 0, 0.5)  # demosaicing ties the channels together
    noise = (noise + clumps * noise.mean(0, keepdim=True) * 1.7) / math.sqrt(1 + clumps**2)

    def raw(strength: float) -> Tensor:
        exposed = light ** (1 + contrast * strength) * 2.0 ** (-stops * strength) * balance**strength
        deviation = torch.sqrt(shot * exposed.clamp(0, 1) + read**2)
        return to_srgb(exposed + strength * deviation * noise)

    return finish(clean, raw)


def dimmed(clean: Tensor, generator: torch.Generator) -> Render:
    """A dim scene: a darkening tone curve, a colour cast, a vignette (Guo et al. 2020, equation 2)."""
    curve, rounds = uniform(generator, 0.2, 1.0), integer(generator, 1, 6)
    factor = uniform(generator, 0.02, 0.8)
    cast = 1 + tint(generator, 0.3 if chance(generator, 0.25) else 0.08)
    shade = _vignette(generator, *clean.shape[-2:])
    noise = grain(generator, *clean.shape[-2:]) * log_uniform(generator, 1e-3, 0.03)

    def raw(strength: float) -> Tensor:
        image = clean
        for _ in range(rounds):
            image = image - strength * curve * image * (1 - image)  # LE(x) = x + a x (1 - x) with a < 0
        # In logarithms the factors scale with strength and strength 0 leaves the photo alone.
        illumination = factor**strength * shade**strength * cast**strength
        return image * illumination + strength * noise * (0.3 + image)

    return finish(clean, raw)


def night(clean: Tensor, generator: torch.Generator) -> Render:
    """Pools of lamp light in the dark, falling off softly from a few lamps (Retinex, Land 1977)."""
    height, width = clean.shape[-2:]
    distances = _lamp_distances(generator, height, width)
    power = uniform(generator, 1.5, 7.0)
    ambient = 2.0 ** -uniform(generator, 2.5, 9.0)
    everywhere = uniform(generator, 0, 1.5) if chance(generator, 0.25) else 0.0
    warm = 1 + tint(generator, 0.2)
    noise = grain(generator, height, width) * log_uniform(generator, 2e-4, 5e-3)
    light = to_linear(clean)

    def raw(strength: float) -> Tensor:
        # The pools close in with strength; without any they are endless and the photo is untouched.
        unlit = (1 - 1 / (1 + (strength * distances) ** power)).prod(0)
        illumination = 1 - (1 - ambient) * unlit
        exposed = light * illumination * 2.0 ** (-everywhere * strength) * warm**strength
        return to_srgb(exposed + strength * noise * (1 + 3 * exposed.clamp(0, 1).sqrt()))

    return finish(clean, raw)


def _lamp_distances(generator: torch.Generator, height: int, width: int) -> Tensor:
    """(lamps, height, width) distance from each of one to four lamps, in units of its reach."""
    y, x = relative_grid(height, width)
    short = min(height, width)
    uneven = 0.75 + 0.5 * read_field(fractal(generator, 4.0), height, width)
    distances = []
    for _ in range(integer(generator, 1, 4)):
        reach = log_uniform(generator, 0.08, 0.7)
        stretch = log_uniform(generator, 0.6, 1.6)
        dy = (y - uniform(generator, -0.1, 1.1)) * (height / short / reach * stretch)
        dx = (x - uniform(generator, -0.1, 1.1)) * (width / short / reach / stretch)
        distances.append(torch.hypot(dy, dx) * uneven)
    return torch.stack(distances)


def grain(generator: torch.Generator, height: int, width: int) -> Tensor:
    """(3, height, width) unit noise that looks alike at every size.

    One tile of 256 cells per short side is drawn; small images take every n-th cell, large ones see it
    enlarged with finer noise of their own pixels on top, as a noise-reduced photo from a camera has both.
    """
    tile = torch.randn(3, GRAIN_CELLS, GRAIN_CELLS, generator=generator)
    fine_seed = integer(generator, 0, 2**31 - 1)
    short = min(height, width)
    rows = (torch.arange(height) + 0.5) / short * GRAIN_CELLS
    columns = (torch.arange(width) + 0.5) / short * GRAIN_CELLS
    if short <= GRAIN_CELLS:
        return tile[:, rows.long() % GRAIN_CELLS][:, :, columns.long() % GRAIN_CELLS]
    tall, wide = (math.ceil(n / short * GRAIN_CELLS) for n in (height, width))
    tiled = tile[:, torch.arange(tall) % GRAIN_CELLS][:, :, torch.arange(wide) % GRAIN_CELLS]
    coarse = F.interpolate(tiled[None], (height, width), mode="bicubic", align_corners=False)[0]
    fine = torch.randn(3, height, width, generator=torch.Generator().manual_seed(fine_seed))
    return math.sqrt(0.6) * coarse / coarse.std().clamp(min=1e-6) + math.sqrt(0.4) * fine


def _vignette(generator: torch.Generator, height: int, width: int) -> Tensor:
    """(height, width) in (0, 1]: light falls off from a point, or along a direction, or unevenly."""
    y, x = relative_grid(height, width)
    radius = torch.hypot(y - uniform(generator, 0.2, 0.8), x - uniform(generator, 0.2, 0.8))
    round_falloff = torch.exp(-((radius / uniform(generator, 0.5, 2.0)) ** 2))
    clouds = read_field(fractal(generator, 4.0), height, width)
    uneven = 1 - uniform(generator, 0, 0.6) * clouds
    amount = uniform(generator, 0, 1)
    return (1 - amount + amount * round_falloff) * uneven
