"""Motion blur: the average of the scene over the exposure, while the camera or an object moves.

Camera-shake trajectories follow Boracchi & Foi 2012 and Kupyn et al. 2018 (DeblurGAN); rotation and zoom are
averages of warps. Strength scales the path, not the mixture of sharp and blurred, so that a small strength
is a short exposure and not a ghost image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.scatter.draw import chance, log_uniform, uniform, uniforms
from gendeg_core.scatter.fields import fractal, read_field, relative_grid, smoothstep
from gendeg_core.simulate.colour import to_linear, to_srgb
from gendeg_core.simulate.convolution import Convolver
from gendeg_core.simulate.strength import Render, finish

SHORTEST, LONGEST = 0.03, 0.3  # length of a path at strength 1, in short sides


def shake(clean: Tensor, generator: torch.Generator) -> Render:
    """A hand-held camera: a random walk with inertia, and now and then a jerk (Kupyn et al. 2018)."""
    y, x = trajectory(generator)
    return _blur(clean, generator, y, x)


def linear(clean: Tensor, generator: torch.Generator) -> Render:
    """Straight motion at even speed, or slightly accelerated."""
    angle, length = uniform(generator, 0, math.pi), log_uniform(generator, SHORTEST, LONGEST)
    t = torch.linspace(0, 1, 256) ** uniform(generator, 0.7, 1.4)
    t = (t - t.mean()) * length
    return _blur(clean, generator, t * math.sin(angle), t * math.cos(angle))


def moving_object(clean: Tensor, generator: torch.Generator) -> Render:
    """Part of the scene moves while the rest stands nearly still (dynamic scenes, Nah et al. 2017)."""
    height, width = clean.shape[-2:]
    y, x = trajectory(generator) if chance(generator, 0.5) else _straight(generator)
    blurred = _blur(clean, generator, y, x)
    mask = _object_mask(generator, height, width)
    rest = uniform(generator, 0, 0.3)
    mask = rest + (1 - rest) * mask
    return finish(clean, lambda strength: clean + (blurred(strength) - clean) * mask)


def rotation_zoom(clean: Tensor, generator: torch.Generator) -> Render:
    """The camera turns about its axis or moves ahead: blur grows with the distance from a still point."""
    height, width = clean.shape[-2:]
    short = min(height, width)
    centre_y, centre_x = uniform(generator, 0, 1) * height, uniform(generator, 0, 1) * width
    extent = log_uniform(generator, 0.05, 0.4)
    mixture = uniform(generator, 0, 2 * math.pi)
    turn, zoom = extent * math.cos(mixture), extent * math.sin(mixture)
    decode, encode = _light(generator)
    light = decode(clean)
    y, x = torch.arange(height)[:, None] + 0.5 - centre_y, torch.arange(width)[None] + 0.5 - centre_x
    farthest = math.hypot(max(centre_y, height - centre_y), max(centre_x, width - centre_x))
    doublings = min(9, max(2, math.ceil(math.log2(max(2.0, extent * min(farthest, 1.5 * short))))))

    def warp(image: Tensor, share: float) -> Tensor:
        scale, angle = math.exp(zoom * share), turn * share
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        source_y, source_x = cosine * y - sine * x + centre_y, sine * y + cosine * x + centre_x
        grid = torch.stack((source_x * (2 / width) - 1, source_y * (2 / height) - 1), dim=-1)
        return F.grid_sample(image[None], grid[None], padding_mode="reflection", align_corners=False)[0]

    def raw(strength: float) -> Tensor:
        # Averaging with a copy moved by half, then a quarter, ... of the path averages 2**n positions.
        blurred = (warp(light, strength / 4) + warp(light, -strength / 4)) / 2
        for step in range(2, doublings + 1):
            moved = warp(blurred, strength / 2**step)
            blurred = (blurred + moved) / 2
        return encode(warp(blurred, -strength * (0.5 - 2.0**-doublings) / 2))

    return finish(clean, raw)


def trajectory(generator: torch.Generator, points: int = 256) -> tuple[Tensor, Tensor]:
    """A camera path (points,) in y and x, in short sides, its mean at the origin."""
    inertia = uniform(generator, 0.9, 0.995)
    velocity = torch.randn(2, generator=generator)
    velocity = velocity / velocity.norm().clamp(min=1e-6)
    kicks = torch.randn(points, 2, generator=generator) * uniform(generator, 0.02, 0.25)
    jerks = (uniforms(generator, points) < 1 / 150) * uniform(generator, 0, 3)
    kicks = kicks * (1 + 8 * jerks[:, None])
    # Velocity is a leaky sum of kicks; the decay is applied as one lower-triangular product.
    ages = (torch.arange(points)[:, None] - torch.arange(points)[None]).float()
    memory = torch.where(ages >= 0, inertia ** ages.clamp(min=0), 0.0)
    steps = memory @ kicks + velocity * inertia ** torch.arange(points)[:, None]
    path = steps.cumsum(0)
    path = path - path.mean(0)
    size = (path.amax(0) - path.amin(0)).norm().clamp(min=1e-6)
    path = path / size * log_uniform(generator, SHORTEST, LONGEST)
    return path[:, 0], path[:, 1]


def _straight(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle, length = uniform(generator, 0, math.pi), log_uniform(generator, 2 * SHORTEST, LONGEST)
    t = torch.linspace(-0.5, 0.5, 256) * length
    return t * math.sin(angle), t * math.cos(angle)


def _blur(clean: Tensor, generator: torch.Generator, y: Tensor, x: Tensor) -> Render:
    """Blur along a path (N,) given in short sides, every point weighing the same."""
    short = min(clean.shape[-2:])
    y, x = y * short, x * short
    # Points closer than half a pixel: otherwise a long path on a large photo would leave separate copies.
    length = torch.hypot(y.diff(), x.diff()).sum().item()
    count = max(len(y), math.ceil(2 * length))
    if count > len(y):
        y, x = (F.interpolate(p[None, None], count, mode="linear", align_corners=True)[0, 0] for p in (y, x))
    weight = torch.full((count,), 1 / count)
    decode, encode = _light(generator)
    convolve = Convolver(decode(clean), torch.hypot(y, x).max().item())
    return finish(clean, lambda strength: encode(convolve(y * strength, x * strength, weight)))


def _light(generator: torch.Generator) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Where to average: linear light, as a sensor does, or pixel values, as most published sets do."""
    if chance(generator, 0.5):
        return to_linear, to_srgb
    return (lambda image: image), (lambda image: image)


def _object_mask(generator: torch.Generator, height: int, width: int) -> Tensor:
    """(height, width) soft mask in [0, 1] of a roundish region with an uneven outline."""
    y, x = relative_grid(height, width)
    y = (y - uniform(generator, 0.2, 0.8)) / log_uniform(generator, 0.15, 0.6)
    x = (x - uniform(generator, 0.2, 0.8)) / log_uniform(generator, 0.15, 0.6)
    uneven = 0.8 * (read_field(fractal(generator, 3.5), height, width) - 0.5)
    edge = uniform(generator, 0.05, 0.3)
    return smoothstep(-edge, edge, 1 - torch.hypot(y, x) + uneven)
