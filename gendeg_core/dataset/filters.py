"""The filter: is a degraded image one to train on, and if not, why?

GenDeg (arXiv 2411.17687), section 3.2, discards generated images by the mean of their degradation map. Its
limits are not published; here they follow from the published histograms. Three checks are added: that the
image is more than a copy of its target, that little of it was clipped, and that the scene's edges are there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gendeg_core.statistics import MU_EDGES, published_histogram
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from torch import Tensor

WEAKEST = 0.001  # share of the published pairs that may lie below the lower limit of mu
CHANGED = 8 / 255  # a pixel has changed when one of its channels moved further than this
COPY = 0.001  # share of changed pixels up to which an image is a copy of its target
END = 1.5 / 255  # a value this near to 0 or 1 is clipped
EDGE_SIZE = 64  # short side at which edges are compared: blur and noise are small there, scenes are not
EDGE_WINDOW = 16  # side of the squares that are compared, half overlapping

# Half the 5 % quantile of the alignment of good pairs, the lower of two measurements at 384 and 256 pixels:
# 60 simulated pairs and 25 by the shipped weights per degradation. Pairs of two different photos stay below
# 0.10 (95 %) and 0.22 (all), pairs shifted by a sixteenth of the height below 0.14 (95 %).
LEAST_ALIGNMENT = {
    Degradation.HAZE: 0.37,
    Degradation.RAIN: 0.39,
    Degradation.SNOW: 0.33,
    Degradation.MOTION_BLUR: 0.14,
    Degradation.LOW_LIGHT: 0.36,
    Degradation.RAINDROP: 0.29,
}
# Night is black; of the others' pairs, measured as above, none had more than 0.07 newly clipped.
MOST_CLIPPED = dict.fromkeys(Degradation, 0.1) | {Degradation.LOW_LIGHT: 0.6}


@dataclass(frozen=True)
class Limits:
    """What one degradation may measure; the ends are allowed."""

    mu_least: float
    mu_most: float
    least_alignment: float
    most_clipped: float


@dataclass(frozen=True)
class Verdict:
    """What the filter says of one pair.

    Args:
        reason: empty when accepted, else a word of `REASONS`, a colon and a sentence with the values.
        alignment: how well the edges of both images agree in place and direction; 0 to 1.
        clipped: share of values at the ends of the range that were not there in the target; 0 to 1.
    """

    accepted: bool
    reason: str
    alignment: float
    clipped: float

    @property
    def word(self) -> str:
        return reason_word(self.reason)


REASONS = ("duplicate", "weak", "strong", "saturated", "structure")


def reason_word(reason: str) -> str:
    """The word that a reason starts with; empty for none."""
    return reason.partition(":")[0]


@functools.cache
def limits(degradation: Degradation) -> Limits:
    """The limits of one degradation.

    mu ends where the last filled bin of the published histogram ends, all data sets together; it begins where
    the bin begins that holds the `WEAKEST` quantile.
    """
    counts = published_histogram(degradation).joint.sum(1)
    first = int(np.searchsorted(np.cumsum(counts), WEAKEST * counts.sum()))
    last = int(np.flatnonzero(counts)[-1])
    return Limits(
        mu_least=float(MU_EDGES[first]),
        mu_most=float(MU_EDGES[last + 1]),
        least_alignment=LEAST_ALIGNMENT[degradation],
        most_clipped=MOST_CLIPPED[degradation],
    )


MuLimits = Mapping[str, tuple[float, float]]  # degradation to the least and the most mu, both allowed


def parse_mu_limits(words: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Limits of mu of one's own from words like haze=0.02:0.5.

    Raises:
        ValueError: a word is not of that form, names no degradation, or its ends do not lie within 0 to 1.
    """
    found = {}
    for word in words:
        name, _, ends = word.partition("=")
        kind = Degradation.parse(name)
        try:
            least, most = (float(end) for end in ends.split(":"))
        except ValueError:
            raise ValueError(f"{word!r} is no limit of mu; write it like {kind}=0.02:0.5") from None
        if not 0 <= least < most <= 1:
            raise ValueError(f"the limits of mu in {word!r} must rise and lie within 0 to 1")
        found[kind.value] = (least, most)
    return found


def judge(
    target: Tensor,
    degraded: Tensor,
    degradation: Degradation,
    mu_obtained: float,
    mu_limits: MuLimits | None = None,
) -> Verdict:
    """The verdict on one pair; when several checks fail, the first of `REASONS` is the reason.

    Args:
        target: what a restorer should return, (3, H, W) in [0, 1].
        degraded: the same shape and range.
        mu_obtained: measured mean of the degradation map.
        mu_limits: those of one's own, in the place of those of `limits`.

    Raises:
        ValueError: the images differ in shape, or a value is not finite.
    """
    if target.shape != degraded.shape or target.ndim != 3 or target.shape[0] != 3:
        raise ValueError(
            f"target {tuple(target.shape)} and degraded {tuple(degraded.shape)} must both be (3, H, W)"
        )
    # A sum is finite only if all its terms are, and takes one pass without a mask.
    if not (math.isfinite(mu_obtained) and target.sum().isfinite() and degraded.sum().isfinite()):
        raise ValueError("the pair or its mu holds NaN or infinite values; it cannot be judged")
    changed = changed_share(target, degraded)
    clipped = clipped_share(target, degraded)
    alignment = edge_alignment(target, degraded)
    may = limits(degradation)
    if mu_limits is not None and degradation in mu_limits:
        least, most = mu_limits[degradation]
        may = replace(may, mu_least=least, mu_most=most)
    reason = _reason(may, degradation.label, mu_obtained, changed, clipped, alignment)
    return Verdict(not reason, reason, alignment, clipped)


def _reason(may: Limits, name: str, mu: float, changed: float, clipped: float, alignment: float) -> str:
    if changed <= COPY:
        return f"duplicate: {changed:.3%} of the pixels changed visibly, not more than {COPY:.1%}"
    if mu < may.mu_least:
        return f"weak: mu {mu:.4f} is below {may.mu_least:.4f}, the least for {name}"
    if mu > may.mu_most:
        return f"strong: mu {mu:.4f} is above {may.mu_most:.4f}, the most for {name}"
    if clipped > may.most_clipped:
        return f"saturated: {clipped:.1%} of the values were clipped, above {may.most_clipped:.0%} for {name}"
    if alignment < may.least_alignment:
        return f"structure: edges agree by {alignment:.3f}, below {may.least_alignment:.2f} for {name}"
    return ""


def changed_share(target: Tensor, degraded: Tensor) -> float:
    """Share of pixels that changed visibly; a few raindrops on an untouched photo are not nothing."""
    return ((degraded - target).abs().amax(0) > CHANGED).float().mean().item()


def clipped_share(target: Tensor, degraded: Tensor) -> float:
    """Share of values at the ends of [0, 1] in `degraded` that were not at that end in `target`."""
    dark = (degraded < END) & (target >= END)
    bright = (degraded > 1 - END) & (target <= 1 - END)
    return (dark | bright).float().mean().item()


def edge_alignment(target: Tensor, degraded: Tensor) -> float:
    """Cosine between the luminance gradients of both images, 0 to 1.

    Taken per square of a reduced copy, so that fog that grows with distance changes nothing; averaged with
    the strength of the target's edges as weight; opposite edges count as none. A target without edges has
    nothing to lose: 1.
    """
    a = _gradients(target)
    b = _gradients(degraded)
    both = _per_square((a * b).sum(1, keepdim=True))
    energy_a, energy_b = (_per_square((g * g).sum(1, keepdim=True)) for g in (a, b))
    weight = energy_a.sqrt()
    if weight.max() < END:
        return 1.0
    # Squares that lost their edges in grey (both energies near 0) count as not aligned.
    cosine = (both / (energy_a * energy_b + 1e-10).sqrt()).clamp(0, 1)
    return ((weight * cosine).sum() / weight.sum()).item()


def _gradients(image: Tensor) -> Tensor:
    """(3, H, W) to Sobel derivatives (1, 2, h, w) of the reduced luminance."""
    import torch
    import torch.nn.functional as F

    luminance = torch.einsum("chw,c->hw", image.float(), image.new_tensor([0.299, 0.587, 0.114]).float())
    scale = EDGE_SIZE / min(luminance.shape)
    if scale < 1:
        size = [max(round(side * scale), 1) for side in luminance.shape]
        luminance = F.interpolate(luminance[None, None], size=size, mode="area")[0, 0]
    across = luminance.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(F.pad(luminance[None, None], (1, 1, 1, 1), mode="replicate"), kernels)


def _per_square(values: Tensor) -> Tensor:
    """Means of (1, 1, h, w) over half overlapping squares."""
    import torch.nn.functional as F

    window = [min(EDGE_WINDOW, side) for side in values.shape[-2:]]
    return F.avg_pool2d(values, window, stride=[max(side // 2, 1) for side in window])
