"""Intensity matching: the last touch that brings the obtained mu to the asked one.

mu is linear in the difference degraded - clean, and scaling that difference is what each degradation does
when it gets stronger or weaker (haze: 1 - transmission; flakes, streaks and drops: opacity; low light: the
lost exposure). The generator gets close; a gain near one removes what is left.
"""

from __future__ import annotations

from torch import Tensor

from gendeg_core.statistics import measure

GAIN_RANGE = (0.4, 2.5)  # outside, the picture would no longer be the generator's
_TOLERANCE = 2e-4
_ROUNDS = 6


def match_intensity(clean: Tensor, degraded: Tensor, mu: float) -> Tensor:
    """`degraded` with its difference from `clean` scaled so that mu, measured as published, is `mu`.

    Args:
        clean, degraded: (3, H, W) in [0, 1].
        mu: asked mean of the degradation map.
    """
    difference = degraded - clean
    gain, best, best_error = 1.0, degraded, float("inf")
    for _ in range(_ROUNDS):
        candidate = (clean + gain * difference).clamp(0, 1)
        obtained, _ = measure(clean, candidate)
        if abs(obtained - mu) < best_error:
            best, best_error = candidate, abs(obtained - mu)
        if best_error < _TOLERANCE or obtained == 0:
            break
        # Clipping at black and white makes mu slightly sublinear in the gain, hence a few rounds.
        gain = min(max(gain * mu / obtained, GAIN_RANGE[0]), GAIN_RANGE[1])
    return best
