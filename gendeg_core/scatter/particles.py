"""Drawing thousands of particles at once: lines (rain, blown snow) and discs (flakes, drops).

Particles overlap as thin absorbers do: their optical thickness -log(1 - opacity) adds up, so the result does
not depend on their order. Thickness is collected in `BUCKETS` sheets; a degradation grows by blending in one
sheet after the other, so that more strength means more particles and not only whiter ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gendeg_core.scatter.fields import gaussian_blur

BUCKETS = 4
LONGEST = 16.0  # short sides; a longer picture gets no more particles, or a thin one would get billions
SMALLEST_WIDTH = 0.45  # pixels; thinner particles are drawn this wide and fainter
_LARGEST_CHUNK = 1 << 21  # patch pixels computed at once: bounds the memory


@dataclass(frozen=True)
class Lines:
    """Line segments in units of the short side: centres and full vectors (N,), one width for all.

    Args:
        width: standard deviation of the cross profile.
        opacity: (N,) at the centre line, in [0, 1).
    """

    y: Tensor
    x: Tensor
    along_y: Tensor
    along_x: Tensor
    opacity: Tensor
    width: float


@dataclass(frozen=True)
class Discs:
    """Soft discs in units of the short side; all fields (N,).

    Args:
        stretch: long over short axis, >= 1, at constant area; `angle` of the long axis in radians.
        softness: share of the radius over which the edge fades, in (0, 1].
        wobble, phase: amplitude and angle of the outline's irregularity.
        opacity: at the centre, in [0, 1).
    """

    y: Tensor
    x: Tensor
    radius: Tensor
    stretch: Tensor
    angle: Tensor
    softness: Tensor
    wobble: Tensor
    phase: Tensor
    opacity: Tensor


@dataclass(frozen=True)
class Patches:
    """Pixels near some of the particles, all patches of one size.

    Args:
        which: (n,) indices of the particles.
        pixel: (n, P * P) flat pixel index, 0 where `inside` is false.
        inside: (n, P * P) whether the pixel lies on the canvas.
        dy, dx: (n, P * P) pixels from the particle's centre.
    """

    which: Tensor
    pixel: Tensor
    inside: Tensor
    dy: Tensor
    dx: Tensor


def in_short_sides(height: int, width: int) -> tuple[float, float]:
    """Height and width in units of the short side."""
    short = min(height, width)
    return height / short, width / short


def squares(tall: float, wide: float) -> float:
    """How many squares of the short side are filled with particles, of a picture `tall` x `wide` of them."""
    return min(tall * wide, LONGEST)


def thickness_of_lines(lines: Lines, height: int, width: int) -> Tensor:
    """(BUCKETS, height, width) optical thickness; the particle number decides the bucket."""
    short = min(height, width)
    sigma = lines.width * short
    drawn = max(sigma, SMALLEST_WIDTH)
    y, x = lines.y * short, lines.x * short
    along_y, along_x = lines.along_y * short, lines.along_x * short
    length = torch.hypot(along_y, along_x)
    steps = max(2, math.ceil(length.max().item()) + 1) if len(length) else 2
    t = (torch.arange(steps) + 0.5) / steps - 0.5
    taper = (1 - (2 * t) ** 2) ** 0.5  # streaks fade towards their ends
    # A line of unit density blurred by sigma peaks at 1 / (sigma sqrt(2 pi)).
    peak = drawn * math.sqrt(2 * math.pi) * min(1.0, sigma / drawn)
    spacing = (length / steps)[:, None]
    weight = -torch.log1p(-lines.opacity)[:, None] * taper * spacing * peak
    # Lines shorter than a pixel would fade away entirely; they stay dots as wide as they are long.
    weight = weight * (drawn / length.clamp(min=1e-6)).clamp(min=1)[:, None].clamp(max=3)
    sheet = (torch.arange(len(y)) % BUCKETS)[:, None].expand(-1, steps)
    canvas = splat_points(
        y[:, None] + along_y[:, None] * t,
        x[:, None] + along_x[:, None] * t,
        weight,
        sheet,
        BUCKETS,
        height,
        width,
    )
    return gaussian_blur(canvas, drawn)


def splat_points(
    y: Tensor, x: Tensor, weight: Tensor, sheet: Tensor, sheets: int, height: int, width: int
) -> Tensor:
    """(sheets, height, width) sums of point weights, shared bilinearly among the four nearest pixels.

    Points (any one shape) are in pixels, (0, 0) the corner of the first pixel; those outside are dropped.
    """
    canvas = torch.zeros(sheets * height * width)
    y, x = (y - 0.5).flatten(), (x - 0.5).flatten()
    weight, sheet = weight.flatten(), sheet.flatten()
    row, column = y.floor(), x.floor()
    fy, fx = y - row, x - column
    row, column = row.long(), column.long()
    for down, share_y in ((0, 1 - fy), (1, fy)):
        for right, share_x in ((0, 1 - fx), (1, fx)):
            r, c = row + down, column + right
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            index = torch.where(inside, (sheet * height + r) * width + c, 0)
            canvas.index_add_(0, index, torch.where(inside, weight * share_y * share_x, 0.0))
    return canvas.view(sheets, height, width)


def thickness_of_discs(discs: Discs, height: int, width: int) -> Tensor:
    """(BUCKETS, height, width) optical thickness; the particle number decides the bucket."""
    short = min(height, width)
    radius = discs.radius * short
    drawn = radius.clamp(min=0.8)
    thickness = -torch.log1p(-discs.opacity) * (radius / drawn).clamp(max=1) ** 2
    canvas = torch.zeros(BUCKETS * height * width)
    reach = drawn * discs.stretch.sqrt() * (1 + discs.wobble) + 1
    for patches in patches_around(discs.y * short, discs.x * short, reach, height, width):
        q = outline_distance(discs, drawn, patches)
        # An edge cannot be sharper than a pixel.
        soft = torch.maximum(discs.softness[patches.which], 1 / drawn[patches.which]).clamp(max=1)[:, None]
        edge = ((1 - q) / soft + 0.5 * (soft < 1)).clamp(0, 1)
        value = thickness[patches.which][:, None] * edge * edge * (3 - 2 * edge) * patches.inside
        sheet = (patches.which % BUCKETS)[:, None]
        canvas.index_add_(0, (sheet * (height * width) + patches.pixel).flatten(), value.flatten())
    return canvas.view(BUCKETS, height, width)


def outline_distance(discs: Discs, radius: Tensor, patches: Patches) -> Tensor:
    """(n, P * P) distance from the centre in units of the outline there: 0 centre, 1 on the outline.

    Args:
        radius: (N,) in pixels.
    """
    which = patches.which
    cosine, sine = torch.cos(discs.angle[which])[:, None], torch.sin(discs.angle[which])[:, None]
    root = discs.stretch[which].sqrt()[:, None]
    long = (cosine * patches.dx + sine * patches.dy) / root
    across = (cosine * patches.dy - sine * patches.dx) * root
    distance = torch.hypot(long, across) / radius[which][:, None]
    if not discs.wobble.any():
        return distance
    theta = torch.atan2(across, long)
    phase, wobble = discs.phase[which][:, None], discs.wobble[which][:, None]
    waves = 0.5 * torch.cos(2 * theta + phase) + 0.3 * torch.cos(3 * theta + 2.3 * phase)
    waves = waves + 0.2 * torch.cos(5 * theta + 4.1 * phase)
    return distance / (1 + wobble * waves)


def patches_around(y: Tensor, x: Tensor, reach: Tensor, height: int, width: int) -> Iterator[Patches]:
    """Square patches that hold each particle out to `reach` pixels, particles of like size together."""
    on_canvas = (y > -reach) & (y < height + reach) & (x > -reach) & (x < width + reach)
    octave = torch.log2(reach.clamp(min=1)).mul(2).ceil().long()
    for group in octave[on_canvas].unique().tolist():
        members = torch.nonzero(on_canvas & (octave == group))[:, 0]
        half = math.ceil(reach[members].max().item())
        offset = torch.arange(-half, half + 1)
        for which in members.split(max(1, _LARGEST_CHUNK // (2 * half + 1) ** 2)):
            row = y[which].floor().long()[:, None] + offset  # (n, P)
            column = x[which].floor().long()[:, None] + offset
            inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None]
            pixel = row[:, :, None] * width + column[:, None]
            shape = pixel.shape
            dy = ((row + 0.5) - y[which][:, None])[:, :, None].expand(shape)
            dx = ((column + 0.5) - x[which][:, None])[:, None].expand(shape)
            yield Patches(
                which,
                torch.where(inside, pixel, 0).flatten(1),
                inside.flatten(1),
                dy.flatten(1),
                dx.flatten(1),
            )


def blend_in(thickness: Tensor, strength: float) -> Tensor:
    """(H, W) thickness at `strength`: the sheets (BUCKETS, H, W) come in one after the other."""
    share = (strength * BUCKETS - torch.arange(BUCKETS)).clamp(0, 1)
    return torch.einsum("k,khw->hw", share, thickness)
