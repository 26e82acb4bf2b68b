"""What one column of a table of metrics is: a number per pair of images, or one per set of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Column:
    """What readers need to know of a metric.

    Args:
        name: in files and commands.
        label: in headings, with the unit.
        better: which way is better.
        decimals: how many are worth printing.
        definition: one sentence that fixes the number: implementation, colour space, borders, networks.
    """

    name: str
    label: str
    better: Literal["higher", "lower"]
    decimals: int
    definition: str


@dataclass(frozen=True)
class PairMetric:
    """A number for a restored image and its clean one.

    Args:
        compute: (restored, clean), both (3, H, W) in [0, 1], to the number.
        smallest: pixels that both sides need; smaller images have no number.
    """

    column: Column
    compute: Callable[[Tensor, Tensor], float]
    smallest: int = 1


@dataclass(frozen=True)
class SetMetric:
    """A distance between all restored images and all clean ones.

    Args:
        features: an image (3, H, W) in [0, 1] to (D,); metrics that share it share its results.
        distance: features (N, D) of the restored and of the clean images to the number.
        smallest: images that a set needs.
    """

    column: Column
    features: Callable[[Tensor], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray], float]
    smallest: int = 2
