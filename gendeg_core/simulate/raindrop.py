"""Raindrops on the glass before the lens: small wide-angle lenses that show the scene upside down.

The mixture (1 - M) * scene + M * drop follows Qian et al. 2018; refraction as a wide inverted view through a
convex drop follows Halimeh & Roser 2009; running drops and smears what a windscreen shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.simulate.draw import chance, log_uniform, normals, uniform, uniforms
from gendeg_core.simulate.fields import gaussian_blur, resize, smoothstep
from gendeg_core.simulate.particles import Discs, in_short_sides, outline_distance, patches_around, squares
from gendeg_core.simulate.strength import Render, finish

VIEW_SIZE = 112  # short side of the copy that drops look at: a drop shrinks the scene, so no more is visible
MOST_DROPS = 700  # per square of the short side
_FADE = 0.15  # share of the drops that are half there at any strength


@dataclass(frozen=True)
class Optics:
    """How one pane of drops looks.

    Args:
        view: half the scene seen through a drop, in drop radii.
        gain, lift: brightness of what a drop shows: gain * view + lift.
        rim: darkness of the edge. glint: brightness of the highlight.
        opacity: of the drops' middle.
        sharpness: short side of the copy the drops look at.
    """

    view: float
    gain: float
    lift: float
    rim: float
    glint: float
    opacity: float
    sharpness: int


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


def drops(clean: Tensor, generator: torch.Generator) -> Render:
    """Drops in focus: inverted sharp views, dark rims, highlights (Halimeh & Roser 2009)."""
    largest = uniform(generator, 0.035, 0.12)
    cover = log_uniform(generator, 0.05, 1.8)
    discs = _scatter_drops(clean, generator, cover, (largest / 3.5, largest), (0.06, 0.2))
    backlit = chance(generator, 0.2)  # drops before dark trees gather the light of the whole sky
    optics = Optics(
        view=uniform(generator, 2, 7),
        gain=uniform(generator, 0.75, 1.25),
        lift=uniform(generator, 0.15, 0.5) if backlit else uniform(generator, -0.05, 0.2),
        rim=uniform(generator, 0.4, 0.9),
        glint=uniform(generator, 0.1, 0.9),
        opacity=uniform(generator, 0.85, 1.0),
        sharpness=VIEW_SIZE,
    )
    return _glass(clean, generator, discs, torch.zeros(len(discs.y)), optics)


def blurred_drops(clean: Tensor, generator: torch.Generator) -> Render:
    """Drops close to the lens, out of focus: soft patches of smeared light (Qian et al. 2018)."""
    largest = uniform(generator, 0.05, 0.13)
    cover = log_uniform(generator, 0.1, 2.0)
    discs = _scatter_drops(clean, generator, cover, (largest / 3, largest), (0.25, 0.7))
    backlit = chance(generator, 0.2)  # rare: pale blobs all over the photo read as snow
    optics = Optics(
        view=uniform(generator, 1, 5),
        gain=uniform(generator, 0.8, 1.2),
        lift=uniform(generator, 0.1, 0.3) if backlit else uniform(generator, -0.1, 0.1),
        rim=uniform(generator, 0.1, 0.5),
        glint=uniform(generator, 0, 0.2),
        opacity=uniform(generator, 0.7, 1.0),
        sharpness=round(log_uniform(generator, 12, 48)),
    )
    return _glass(clean, generator, discs, torch.zeros(len(discs.y)), optics)


def running(clean: Tensor, generator: torch.Generator) -> Render:
    """Water running down: winding trails that end in a heavy drop, among small resting drops."""
    discs, upright = _trails(clean, generator)
    resting = _scatter_drops(clean, generator, log_uniform(generator, 0.02, 0.6), (0.012, 0.05), (0.08, 0.3))
    discs = Discs(*(torch.cat(pair) for pair in zip(_fields(discs), _fields(resting), strict=True)))
    upright = torch.cat((upright, torch.zeros(len(resting.y))))
    optics = Optics(
        view=uniform(generator, 2, 6),
        gain=uniform(generator, 0.8, 1.2),
        lift=uniform(generator, -0.05, 0.2),
        rim=uniform(generator, 0.1, 0.7),
        glint=uniform(generator, 0, 0.6),
        opacity=uniform(generator, 0.75, 1.0),
        sharpness=round(log_uniform(generator, 32, VIEW_SIZE)),
    )
    return _glass(clean, generator, discs, upright, optics)


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


def _scatter_drops(
    clean: Tensor,
    generator: torch.Generator,
    cover: float,
    radius: tuple[float, float],
    softness: tuple[float, float],
) -> Discs:
    """Drops anywhere on the pane, many small and few large; `cover` is their area, `opacity` their rank."""
    height, width = clean.shape[-2:]
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
        stretch=uniforms(generator, number, 1.0, uniform(generator, 1.05, 1.6)),
        # Gravity draws drops out downwards.
        angle=math.pi / 2 + 0.35 * normals(generator, number),
        softness=uniforms(generator, number, *softness),
        wobble=uniforms(generator, number, 0, uniform(generator, 0.05, 0.25)),
        phase=uniforms(generator, number, 0, 2 * math.pi),
        opacity=uniforms(generator, number),
    )


def _trails(clean: Tensor, generator: torch.Generator) -> tuple[Discs, Tensor]:
    """Chains of overlapping discs along winding downward paths; the last is the drop that runs."""
    height, width = clean.shape[-2:]
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
    return discs, upright.flatten()


def _pane(discs: Discs, upright: Tensor, height: int, width: int) -> Pane:
    """Which drop each pixel sees: the one it lies deepest in."""
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


def _glass(
    clean: Tensor, generator: torch.Generator, discs: Discs, upright: Tensor, optics: Optics
) -> Render:
    """Paint the drops; with more strength more of them are on the glass."""
    height, width = clean.shape[-2:]
    pane = _pane(discs, upright, height, width)
    seen = _through_drops(clean, pane, optics)
    light_y, light_x = uniform(generator, -0.65, -0.2), uniform(generator, -0.45, 0.45)
    shown = _shade(seen, pane, optics, light_y, light_x)
    soft = torch.maximum(pane.softness, 1.3 / pane.radius).clamp(max=1)
    inside = ((1 - pane.q) / soft).clamp(0, 1)
    mask = optics.opacity * inside * inside * (3 - 2 * inside)
    film = _wet_film(clean, generator)

    def raw(strength: float) -> Tensor:
        there = ((strength * (1 + _FADE) - pane.rank) / _FADE).clamp(0, 1)
        scene = clean + strength**2 * (film - clean)
        return scene + (shown - scene) * (mask * there)

    return finish(clean, raw)


def _through_drops(clean: Tensor, pane: Pane, optics: Optics) -> Tensor:
    """(3, H, W) the scene seen through each drop: wide and upside down; trails bend sideways only."""
    height, width = clean.shape[-2:]
    short = min(height, width)
    reduce = min(1.0, optics.sharpness / short)
    small = resize(clean, max(1, round(height * reduce)), max(1, round(width * reduce)))
    bulge = optics.view * (0.55 + 0.45 * pane.q**2)  # rays bend more near the edge
    flip = 1 + bulge
    y = torch.arange(height)[:, None] + 0.5 - pane.v * pane.radius * torch.where(pane.upright > 0, 0.0, flip)
    x = torch.arange(width)[None] + 0.5 - pane.u * pane.radius * flip
    grid = torch.stack((x * (2 / width) - 1, y * (2 / height) - 1), dim=-1)
    return F.grid_sample(small[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def _shade(seen: Tensor, pane: Pane, optics: Optics, light_y: float, light_x: float) -> Tensor:
    """Dark rim, bright crescent opposite the light, and a highlight towards it."""
    lit = seen * optics.gain + optics.lift
    edge = smoothstep(0.55, 1.0, pane.q)
    round_drop = 1 - pane.upright
    lit = lit * (1 - optics.rim * edge * (0.65 - 0.35 * pane.v))
    crescent = edge * (pane.v * round_drop).clamp(min=0) * optics.glint * 0.35
    spot = torch.exp(-((pane.u - light_x) ** 2 + (pane.v - light_y) ** 2) / 0.03) * round_drop
    return (lit + crescent + optics.glint * spot).clamp(0, 1)


def _wet_film(clean: Tensor, generator: torch.Generator) -> Tensor:
    """(3, H, W) the scene between the drops: unchanged, or faintly blurred and pale."""
    if not chance(generator, 0.35):
        return clean
    short = min(clean.shape[-2:])
    blurred = gaussian_blur(clean, uniform(generator, 0.001, 0.006) * short)
    pale = uniform(generator, 0, 0.15)
    return blurred + pale * (uniform(generator, 0.5, 0.9) - blurred)
