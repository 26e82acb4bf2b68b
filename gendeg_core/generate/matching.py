"""Intensity matching: the last touch that brings the obtained mu and sigma to the asked ones.

Scaling the difference degraded - clean is what each degradation does when it gets stronger or weaker (haze:
1 - transmission; flakes, streaks and drops: opacity; low light: the lost exposure), and mu is linear in it.
Scaling it more where it is already strong, or less, makes it uneven or even, and moves sigma. The generator
gets close; small corrections remove what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from gendeg_core.statistics import measure
from gendeg_core.types import Degradation, DegradationRequest

GAIN_RANGE = (0.4, 2.5)  # of the difference; outside, the picture would no longer be the generator's
_TOLERANCE = 2e-4
_ROUNDS = 6
_HALVINGS = 7


@dataclass(frozen=True)
class Limits:
    """How far the difference may be rescaled before the picture would no longer be the generator's.

    Args:
        contrast: least and largest exponent on its relative local strength.
        window: side over which that strength is averaged, as a share of the short side.
    """

    contrast: tuple[float, float]
    window: float


# Marks get more or less even one by one. A veil or the dark gets uneven as light is: over wide areas.
_MARKS = Limits(contrast=(-0.7, 0.7), window=0.02)
_VEIL = Limits(contrast=(-0.7, 1.2), window=0.12)
# A blur that is made stronger where it is strong already turns edges inside out.
_BLUR = Limits(contrast=(-0.7, 0.15), window=0.02)


def limits(degradation: Degradation) -> Limits:
    if degradation is Degradation.MOTION_BLUR:
        return _BLUR
    return _VEIL if degradation.is_global else _MARKS


def match_intensity(clean: Tensor, degraded: Tensor, request: DegradationRequest) -> Tensor:
    """`degraded` with its difference from `clean` rescaled towards the asked mu and sigma.

    mu is met unless the photo or the limits forbid it; sigma is approached as far as the limits allow.

    Args:
        clean, degraded: (3, H, W) in [0, 1].
    """
    difference = degraded - clean
    if not difference.abs().max() > 0:
        return degraded
    allowed = limits(request.degradation)
    return match_mean(clean, match_spread(clean, difference, request, allowed), request.mu)


def match_spread(clean: Tensor, difference: Tensor, request: DegradationRequest, allowed: Limits) -> Tensor:
    """The difference times its relative local strength ** contrast, as strong on average as before.

    The contrast is found by bisection at the size the images have; that is close enough to the published
    measure at 256 x 256.
    """
    relative = _relative_strength(difference, allowed.window)
    strength = difference.abs().mean()

    def reweighted(contrast: float) -> Tensor:
        weighted = difference * relative**contrast
        return weighted * (strength / weighted.abs().mean())

    def spread(candidate: Tensor) -> float:
        gain, change = 1.0, candidate.abs()
        for _ in range(3):  # clipping makes mu slightly sublinear in the gain
            change = ((clean + gain * candidate).clamp(0, 1) - clean).abs()
            gain = _within_range(gain * request.mu / max(float(change.mean()), 1e-6))
        return float(((clean + gain * candidate).clamp(0, 1) - clean).abs().std(correction=0))

    low, high = allowed.contrast
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(reweighted(middle)) < request.sigma else (low, middle)
    return reweighted((low + high) / 2)


def match_mean(clean: Tensor, difference: Tensor, mu: float) -> Tensor:
    """`clean` plus the difference times the gain at which mu, measured as published, is `mu`."""
    gain, best, best_error = 1.0, (clean + difference).clamp(0, 1), float("inf")
    for _ in range(_ROUNDS):
        candidate = (clean + gain * difference).clamp(0, 1)
        obtained, _ = measure(clean, candidate)
        if abs(obtained - mu) < best_error:
            best, best_error = candidate, abs(obtained - mu)
        if best_error < _TOLERANCE or obtained == 0:
            break
        gain = _within_range(gain * mu / obtained)
    return best


def _relative_strength(difference: Tensor, window: float) -> Tensor:
    """(1, H, W) the difference's strength around each pixel over its mean."""
    side = max(2 * round(window * min(difference.shape[-2:]) / 2) + 1, 3)
    local = difference.abs().mean(0)[None, None]
    for _ in range(2):  # two passes make the averaged areas round
        local = F.avg_pool2d(F.pad(local, (side // 2,) * 4, mode="replicate"), side, 1)
    return local[0] / local.mean().clamp(min=1e-6) + 0.05  # the floor keeps untouched places untouched


def _within_range(gain: float) -> float:
    return min(max(gain, GAIN_RANGE[0]), GAIN_RANGE[1])
