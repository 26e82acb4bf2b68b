"""Intensity matching: the last touch that brings the obtained mu and sigma to the asked ones.

Scaling the difference degraded - clean is what each degradation does when it gets stronger or weaker (haze:
1 - transmission; flakes, streaks and drops: opacity; low light: the lost exposure), and mu is linear in it.
Scaling it more where it is already strong, or less, makes it uneven or even, and moves sigma. The generator
gets close; small corrections remove what is left.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gendeg_core.statistics import measure

GAIN_RANGE = (0.4, 2.5)  # outside, the picture would no longer be the generator's
CONTRAST_RANGE = (-0.7, 0.7)
_TOLERANCE = 2e-4
_ROUNDS = 6
_HALVINGS = 7
_WINDOW = 5  # pixels over which the strength of the difference is averaged


def match_intensity(clean: Tensor, degraded: Tensor, mu: float, sigma: float) -> Tensor:
    """`degraded` with its difference from `clean` rescaled towards the asked mu and sigma.

    Args:
        clean, degraded: (3, H, W) in [0, 1].
        mu: asked mean of the degradation map, met unless the photo or `GAIN_RANGE` forbids it.
        sigma: asked standard deviation of the map, approached as far as `CONTRAST_RANGE` allows.
    """
    difference = degraded - clean
    if not difference.abs().max() > 0:
        return degraded
    return match_mean(clean, clean + match_spread(clean, difference, mu, sigma), mu)


def match_spread(clean: Tensor, difference: Tensor, mu: float, sigma: float) -> Tensor:
    """The difference times local strength ** contrast, the contrast found by bisection.

    Works at the size the images have; that is close enough to the published measure at 256 x 256.
    """
    pad = _WINDOW // 2
    strength = difference.abs().mean(0)[None, None]
    local = F.avg_pool2d(F.pad(strength, (pad,) * 4, mode="replicate"), _WINDOW, 1)[0]
    relative = local / local.mean().clamp(min=1e-6) + 0.05  # the floor keeps untouched places untouched

    def rescaled(contrast: float) -> Tensor:
        weighted = difference * relative**contrast
        gain = 1.0
        for _ in range(2):  # clipping makes mu slightly sublinear in the gain
            obtained = float(((clean + gain * weighted).clamp(0, 1) - clean).abs().mean())
            gain = min(max(gain * mu / max(obtained, 1e-6), 0.1), 10.0)
        return gain * weighted

    def spread(candidate: Tensor) -> float:
        return float(((clean + candidate).clamp(0, 1) - clean).abs().std(correction=0))

    low, high = CONTRAST_RANGE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(rescaled(middle)) < sigma else (low, middle)
    return rescaled((low + high) / 2)


def match_mean(clean: Tensor, degraded: Tensor, mu: float) -> Tensor:
    """`degraded` with its difference from `clean` scaled so that mu, measured as published, is `mu`."""
    difference = degraded - clean
    gain, best, best_error = 1.0, degraded.clamp(0, 1), float("inf")
    for _ in range(_ROUNDS):
        candidate = (clean + gain * difference).clamp(0, 1)
        obtained, _ = measure(clean, candidate)
        if abs(obtained - mu) < best_error:
            best, best_error = candidate, abs(obtained - mu)
        if best_error < _TOLERANCE or obtained == 0:
            break
        gain = min(max(gain * mu / obtained, GAIN_RANGE[0]), GAIN_RANGE[1])
    return best
