"""How the picture moves, for a denoiser that is told it."""

from __future__ import annotations

from gendeg_core.scatter.motion import MOTIONS, Motion
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.types import DegradationRequest


def draw_motion(request: DegradationRequest) -> Motion:
    """A motion as the simulators draw it; it depends on the seed alone."""
    names = list(MOTIONS)
    name = names[sample_seed(request.seed, "motion") % len(names)]
    return MOTIONS[name](torch_generator(sample_seed(request.seed, f"motion {name}")))
