"""How the picture moves while the shutter is open: along a path, in a region, about a still point.

Camera-shake trajectories follow Boracchi & Foi 2012 and Kupyn et al. 2018 (DeblurGAN).

A layout of motion, (3, height, width), says for each pixel how much of the motion reaches it (0 to 1) and
along which line: sine and cosine of twice the angle, times how much of a line it is rather than a round spot.
Twice the angle, because there and back blur alike. How far it moves is left open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gendeg_core.scatter.draw import chance, log_uniform, uniform, uniforms
from gendeg_core.scatter.fields import fractal, read_field, relative_grid, smoothstep

SHORTEST, LONGEST = 0.03, 0.3  # length of a path at strength 1, in short sides


class Motion(Protocol):
    """Anything that knows its layout at any size in pixels."""

    def layout(self, height: int, width: int) -> Tensor:
        """(3, height, width) in [-1, 1]: share of the motion, sine and cosine of twice the angle."""
        ...


@dataclass(frozen=True)
class Path:
    """The whole picture moves as one.

    Args:
        y, x: (N,) points in short sides, their mean at the origin.
    """

    y: Tensor
    x: Tensor

    def layout(self, height: int, width: int) -> Tensor:
        across, along = 2 * (self.y * self.x).mean(), (self.x.square() - self.y.square()).mean()
        size = (self.x.square() + self.y.square()).mean().clamp(min=1e-12)
        maps = torch.stack([torch.ones(()), across / size, along / size])
        return maps[:, None, None].expand(3, height, width)


@dataclass(frozen=True)
class Region:
    """A roundish region with an uneven soft outline, in shares of the picture's sides.

    Args:
        uneven: periodic field that bends the outline. edge: half the width of the soft border.
        rest: share of the motion outside.
    """

    centre_y: float
    size_y: float
    centre_x: float
    size_x: float
    uneven: Tensor
    edge: float
    rest: float

    def mask(self, height: int, width: int) -> Tensor:
        """(height, width) share of the motion, `rest` to 1."""
        y, x = relative_grid(height, width)
        y, x = (y - self.centre_y) / self.size_y, (x - self.centre_x) / self.size_x
        uneven = 0.8 * (read_field(self.uneven, height, width) - 0.5)
        inside = smoothstep(-self.edge, self.edge, 1 - torch.hypot(y, x) + uneven)
        return self.rest + (1 - self.rest) * inside


@dataclass(frozen=True)
class Passage:
    """Something moves in a region while the rest stands nearly still (dynamic scenes, Nah et al. 2017)."""

    path: Path
    region: Region

    def layout(self, height: int, width: int) -> Tensor:
        share = self.region.mask(height, width)
        return torch.cat([share[None], self.path.layout(height, width)[1:]])


@dataclass(frozen=True)
class Turn:
    """The camera turns about its axis or moves ahead: motion grows with the distance from a still point.

    Args:
        y, x: the still point, in shares of the sides.
        angle: of the turn at strength 1, radians. zoom: logarithm of the enlargement.
    """

    y: float
    x: float
    angle: float
    zoom: float

    def layout(self, height: int, width: int) -> Tensor:
        y = torch.arange(height)[:, None] + 0.5 - self.y * height
        x = torch.arange(width)[None] + 0.5 - self.x * width
        down, right = self.zoom * y - self.angle * x, self.zoom * x + self.angle * y
        square = (down.square() + right.square()).clamp(min=1e-12)
        share = torch.hypot(y, x) / self.farthest(height, width)
        return torch.stack([share, 2 * down * right / square, (right.square() - down.square()) / square])

    def farthest(self, height: int, width: int) -> float:
        """Distance in pixels from the still point to the corner farthest from it."""
        y, x = self.y * height, self.x * width
        return math.hypot(max(y, height - y), max(x, width - x))


def shake(generator: torch.Generator) -> Path:
    """A hand-held camera: a random walk with inertia, and now and then a jerk (Kupyn et al. 2018)."""
    return Path(*trajectory(generator))


def line(generator: torch.Generator) -> Path:
    """Straight motion at even speed, or slightly accelerated."""
    angle, length = uniform(generator, 0, math.pi), log_uniform(generator, SHORTEST, LONGEST)
    t = torch.linspace(0, 1, 256) ** uniform(generator, 0.7, 1.4)
    t = (t - t.mean()) * length
    return Path(t * math.sin(angle), t * math.cos(angle))


def passing_path(generator: torch.Generator) -> Path:
    """How a part of the scene moves: straight ahead, or as a hand-held camera does."""
    if chance(generator, 0.5):
        return shake(generator)
    angle, length = uniform(generator, 0, math.pi), log_uniform(generator, 2 * SHORTEST, LONGEST)
    t = torch.linspace(-0.5, 0.5, 256) * length
    return Path(t * math.sin(angle), t * math.cos(angle))


def region(generator: torch.Generator) -> Region:
    """Where something moves, anywhere but at the border."""
    return Region(
        centre_y=uniform(generator, 0.2, 0.8),
        size_y=log_uniform(generator, 0.15, 0.6),
        centre_x=uniform(generator, 0.2, 0.8),
        size_x=log_uniform(generator, 0.15, 0.6),
        uneven=fractal(generator, 3.5),
        edge=uniform(generator, 0.05, 0.3),
        rest=uniform(generator, 0, 0.3),
    )


def passage(generator: torch.Generator) -> Passage:
    """Something that moves through a scene standing still."""
    return Passage(passing_path(generator), region(generator))


def turn(generator: torch.Generator) -> Turn:
    """A turn, a zoom, or both, about any point of the picture."""
    y, x = uniform(generator, 0, 1), uniform(generator, 0, 1)
    extent = log_uniform(generator, 0.05, 0.4)
    mixture = uniform(generator, 0, 2 * math.pi)
    return Turn(y, x, angle=extent * math.cos(mixture), zoom=extent * math.sin(mixture))


# What may happen, as often one as the other.
MOTIONS: dict[str, Callable[[torch.Generator], Motion]] = {
    "shake": shake,
    "line": line,
    "passage": passage,
    "turn": turn,
}


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
