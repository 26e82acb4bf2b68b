"""The words every room of the house shares: the six degradations, a request, a result.

Degradation phrases are those appended to the caption in GenDeg (arXiv 2411.17687, section 3.1).
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MU_MAX = 0.7
SIGMA_MAX = 0.4


class Degradation(StrEnum):
    """The six degradations, in the one spelling used by files, commands, the app and the data sets."""

    HAZE = "haze"
    RAIN = "rain"
    SNOW = "snow"
    MOTION_BLUR = "motion_blur"
    LOW_LIGHT = "low_light"
    RAINDROP = "raindrop"

    @property
    def phrase(self) -> str:
        """Text that follows the caption in a prompt, without the comma."""
        return _PHRASES[self]

    @property
    def label(self) -> str:
        """The name as written for people."""
        return self.value.replace("_", " ")

    @property
    def is_global(self) -> bool:
        """Whether it changes the light of the whole photo smoothly; the others leave marks of their own."""
        return self in (Degradation.HAZE, Degradation.LOW_LIGHT)

    @classmethod
    def parse(cls, name: str) -> Degradation:
        """The degradation called `name`; ValueError with the known names otherwise."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(d.value for d in cls)
            raise ValueError(f"unknown degradation {name!r}; choose one of {known}") from None


_PHRASES = {
    Degradation.HAZE: "in hazy conditions",
    Degradation.RAIN: "in rainy conditions",
    Degradation.SNOW: "in snowy conditions",
    Degradation.MOTION_BLUR: "in blurry conditions",
    Degradation.LOW_LIGHT: "in low-light conditions",
    Degradation.RAINDROP: "with raindrops in it",
}

# Two published data sets show haze as well; a request drawn from their statistics says so.
_DATASET_PHRASES = {
    (Degradation.SNOW, "CSD"): "in snowy and hazy conditions",
    (Degradation.RAIN, "ORD"): "in rainy and hazy conditions",
}


def phrases() -> frozenset[str]:
    """Every text that can follow a caption in a prompt."""
    return frozenset([*_PHRASES.values(), *_DATASET_PHRASES.values()])


def prompt(caption: str, degradation: Degradation, dataset: str = "") -> str:
    """Caption of the clean photo, a comma, the degradation phrase; the phrase alone for no caption.

    `dataset` is the published data set whose statistics were drawn; CSD and ORD have phrases of their own.
    """
    phrase = _DATASET_PHRASES.get((degradation, dataset), degradation.phrase)
    caption = caption.strip()
    return f"{caption}, {phrase}" if caption else phrase


@dataclass(frozen=True)
class DegradationRequest:
    """What is asked for: one degradation of one photo.

    Args:
        degradation: which of the six; its name is accepted too.
        mu: mean of the degradation map |degraded - clean| in [0, 1] units; 0 to 0.7.
        sigma: standard deviation of the same map; 0 to 0.4.
        seed: everything random in the result follows from it; 0 to 2**63 - 1.
        caption: what the clean photo shows; may be empty.
        dataset: published data set whose statistics gave mu and sigma; may be empty.

    Raises:
        ValueError: unknown degradation, or a number that is not finite, not whole (seed) or out of its range.
    """

    degradation: Degradation
    mu: float
    sigma: float
    seed: int = 0
    caption: str = ""
    dataset: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "degradation", Degradation.parse(self.degradation))
        for name, value, top in (("mu", self.mu, MU_MAX), ("sigma", self.sigma, SIGMA_MAX)):
            if not (math.isfinite(value) and 0 <= value <= top):
                raise ValueError(f"{name}={value} is outside 0 to {top}; choose a value inside")
        if not (isinstance(self.seed, numbers.Integral) and 0 <= self.seed < 2**63):
            raise ValueError(f"seed={self.seed} is not a whole number from 0 to 2**63 - 1; choose one")

    @property
    def prompt(self) -> str:
        return prompt(self.caption, self.degradation, self.dataset)


@dataclass(frozen=True)
class DegradationResult:
    """One finished degradation, with what was asked and what was obtained.

    Images are float32 RGB in [0, 1], shape (3, H, W), the size of the photo that came in.
    """

    request: DegradationRequest
    degraded: Tensor
    target: Tensor  # what a restorer should return: the photo, or its VAE round trip
    degradation_map: Tensor  # |degraded - clean|
    mu_obtained: float  # measured as published: both images squashed to 256 x 256
    sigma_obtained: float
    weights: str  # identity of the weights, "simulator:<family>" for the physical engine


@dataclass(frozen=True)
class Progress:
    """Sign of life from a running degradation: `done` of `total` units, a small preview when cheap."""

    done: int
    total: int
    preview: Tensor | None = None  # (3, h, w) in [0, 1]
