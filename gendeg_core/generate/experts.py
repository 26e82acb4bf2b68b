"""Denoisers of their own for degradations whose layout is drawn: which they are and what they are told.

Noise has to agree over hundreds of pixels before a round drop or one direction of motion comes of it, which a
small network does not learn. So the layout, where drops lie and how all moves, is drawn as the simulators
draw it, and an expert (Balaji et al. 2022, eDiff-I) paints what that does to the light: it sees the layout
beside the photo, as ControlNet (Zhang et al. 2023) sees edges or poses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gendeg_core.generate.drop_layout import draw_drops
from gendeg_core.generate.motion_layout import draw_motion
from gendeg_core.types import Degradation, DegradationRequest

# The component of the pipeline that paints each of these, where the pipeline has it.
EXPERTS = {Degradation.RAINDROP: "drop_unet", Degradation.MOTION_BLUR: "motion_unet"}

Layout = Callable[[int, int], Tensor]  # (height, width) -> the same layout at that size, (3, height, width)


@dataclass(frozen=True)
class Expert:
    """A denoiser and what it is told, folded to the size of the latents.

    Args:
        unet: denoiser of [noisy latent, clean latent, layout].
        layouts: (B, C, h, w).
    """

    unet: Any
    layouts: Tensor

    def at(self, window: tuple[slice, slice]) -> Expert:
        """The same of a part of the latents, rows and columns."""
        return Expert(self.unet, self.layouts[(..., *window)])


_DRAWERS: dict[Degradation, Callable[[DegradationRequest, int, int], Layout]] = {
    Degradation.RAINDROP: lambda request, height, width: draw_drops(request, height, width).at,
    Degradation.MOTION_BLUR: lambda request, *_: draw_motion(request).layout,
}


def draw_layout(request: DegradationRequest, height: int, width: int) -> Layout:
    """The layout of a degradation that experts know; it depends on the request and the shape alone.

    Args:
        height, width: of the picture, for its ratio.

    Raises:
        KeyError: experts do not know this degradation.
    """
    return _DRAWERS[request.degradation](request, height, width)
