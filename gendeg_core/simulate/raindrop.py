"""Raindrops on the glass before the lens: small wide-angle lenses that show the scene upside down.

The mixture (1 - M) * scene + M * drop follows Qian et al. 2018; refraction as a wide inverted view through a
convex drop follows Halimeh & Roser 2009; running drops and smears what a windscreen shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.scatter.draw import chance, log_uniform, uniform
from gendeg_core.scatter.fields import gaussian_blur, resize, smoothstep
from gendeg_core.scatter.panes import (
    Arrangement,
    Pane,
    pane_of,
    sharp_drops,
    soft_drops,
    trails_and_drops,
)
from gendeg_core.simulate.strength import LaidOut, finish

VIEW_SIZE = 112  # short side of the copy that drops look at: a drop shrinks the scene, so no more is visible


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


def drops(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """Drops in focus: inverted sharp views, dark rims, highlights (Halimeh & Roser 2009)."""
    arrangement = sharp_drops(clean.shape[-2], clean.shape[-1], generator)
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
    return _glass(clean, generator, arrangement, optics)


def blurred_drops(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """Drops close to the lens, out of focus: soft patches of smeared light (Qian et al. 2018)."""
    arrangement = soft_drops(clean.shape[-2], clean.shape[-1], generator)
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
    return _glass(clean, generator, arrangement, optics)


def running(clean: Tensor, generator: torch.Generator) -> LaidOut:
    """Water running down: winding trails that end in a heavy drop, among small resting drops."""
    arrangement = trails_and_drops(clean.shape[-2], clean.shape[-1], generator)
    optics = Optics(
        view=uniform(generator, 2, 6),
        gain=uniform(generator, 0.8, 1.2),
        lift=uniform(generator, -0.05, 0.2),
        rim=uniform(generator, 0.1, 0.7),
        glint=uniform(generator, 0, 0.6),
        opacity=uniform(generator, 0.75, 1.0),
        sharpness=round(log_uniform(generator, 32, VIEW_SIZE)),
    )
    return _glass(clean, generator, arrangement, optics)


def _glass(clean: Tensor, generator: torch.Generator, arrangement: Arrangement, optics: Optics) -> LaidOut:
    """Paint the drops; with more strength more of them are on the glass."""
    height, width = clean.shape[-2:]
    pane = pane_of(arrangement, height, width)
    seen = _through_drops(clean, pane, optics)
    light_y, light_x = uniform(generator, -0.65, -0.2), uniform(generator, -0.45, 0.45)
    shown = _shade(seen, pane, optics, light_y, light_x)
    mask = optics.opacity * pane.mask
    film = _wet_film(clean, generator)

    def raw(strength: float) -> Tensor:
        scene = clean + strength**2 * (film - clean)
        return scene + (shown - scene) * (mask * pane.there(strength))

    return LaidOut(finish(clean, raw), pane.layout)


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
