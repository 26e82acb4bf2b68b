"""Motion blur: the average of the scene over the exposure, while the camera or an object moves.

Paths are those of `gendeg_core.scatter.motion`; rotation and zoom are averages of warps. Strength scales the
path, not the mixture of sharp and blurred, so that a small strength is a short exposure and no ghost image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.scatter import motion
from gendeg_core.scatter.draw import chance
from gendeg_core.scatter.motion import Motion, Passage, Path
from gendeg_core.simulate.colour import to_linear, to_srgb
from gendeg_core.simulate.convolution import Convolver
from gendeg_core.simulate.strength import LaidOut, Render, finish


def shake(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """A hand-held camera."""
    return _along(clean, generator, motion.shake(generator))


def linear(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """Straight motion."""
    return _along(clean, generator, motion.line(generator))


def moving_object(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """Part of the scene moves while the rest stands nearly still."""
    path = motion.passing_path(generator)
    blurred = _blur(clean, generator, path)
    passage = Passage(path, motion.region(generator))
    mask = passage.region.mask(*clean.shape[-2:])
    return _moved(clean, passage, lambda strength: clean + (blurred(strength) - clean) * mask)


def rotation_zoom(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """The camera turns about its axis or moves ahead."""
    height, width = clean.shape[-2:]
    turn = motion.turn(generator)
    decode, encode = _light(generator)
    light = decode(clean)
    centre_y, centre_x = turn.y * height, turn.x * width
    y, x = torch.arange(height)[:, None] + 0.5 - centre_y, torch.arange(width)[None] + 0.5 - centre_x
    extent = math.hypot(turn.angle, turn.zoom)
    reach = min(turn.farthest(height, width), 1.5 * min(height, width))
    doublings = min(9, max(2, math.ceil(math.log2(max(2.0, extent * reach)))))

    def warp(image: Tensor, share: float) -> Tensor:
        scale, angle = math.exp(turn.zoom * share), turn.angle * share
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

    return _moved(clean, turn, raw)


def _along(clean: Tensor, generator: torch.Generator, path: Path) -> LaidOut:
    return _moved(clean, path, _blur(clean, generator, path))


def _moved(clean: Tensor, moving: Motion, raw: Render) -> LaidOut:
    return LaidOut(finish(clean, raw), lambda _: moving.layout(*clean.shape[-2:]))


def _blur(clean: Tensor, generator: torch.Generator, path: Path) -> Render:
    """Blur along a path, every point weighing the same."""
    short = min(clean.shape[-2:])
    y, x = path.y * short, path.x * short
    # Points closer than half a pixel: otherwise a long path on a large photo would leave separate copies.
    length = torch.hypot(y.diff(), x.diff()).sum().item()
    count = max(len(y), math.ceil(2 * length))
    if count > len(y):
        y, x = (F.interpolate(p[None, None], count, mode="linear", align_corners=True)[0, 0] for p in (y, x))
    weight = torch.full((count,), 1 / count)
    decode, encode = _light(generator)
    convolve = Convolver(decode(clean), torch.hypot(y, x).max().item())
    return lambda strength: encode(convolve(y * strength, x * strength, weight))


def _light(generator: torch.Generator) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Where to average: linear light, as a sensor does, or pixel values, as most published sets do."""
    if chance(generator, 0.5):
        return to_linear, to_srgb
    return (lambda image: image), (lambda image: image)
