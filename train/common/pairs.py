"""Training pairs: simulated on photos, or read from stored pairs, mixed by weight.

Pair number k is a function of (seed, k) alone, whatever process asks for it.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gendeg_core.dataset.pairs import PairReader, kind_number
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.simulate import random_pair, simulate
from gendeg_core.statistics import draw_intensity, measure_uint8, published_histogram, to_uint8
from gendeg_core.types import Degradation, DegradationRequest
from train.common.photos import PhotoRecord, read_crop

CANDIDATES = 6  # simulations compared per pair of a global degradation


class Pair(TypedDict):
    clean: Tensor  # (3, S, S) uint8
    degraded: Tensor  # (3, S, S) uint8
    degradation: int  # position in list(Degradation)
    mu: float
    sigma: float
    caption: str
    latents: NotRequired[Tensor]  # (3C, h, w): what a frozen VAE makes of both images
    layout: NotRequired[Tensor]  # (3, S, S) uint8, see `layout_bytes`


class PairSource(abc.ABC):
    """What a source of pairs offers: pair number k, made from (seed, k) alone."""

    @abc.abstractmethod
    def pair(self, seed: int, k: int) -> Pair: ...


@dataclass(frozen=True)
class SimulatedPairs(PairSource):
    """Photos degraded by the physical simulators, mu and sigma drawn from the published histograms.

    A photo's own contrast decides sigma where all of it changes (haze, low light); there the nearest of
    several simulations is taken, so that the generator learns what sigma means apart from the photo.

    Args:
        photos: clean photos.
        size: side of the square crop in pixels.
        turns: the degradations in turn; one that stands there twice is simulated twice as often.
        uniform: share of pairs whose mu is uniform over the published range instead, so that the sparse
            ends of the histogram are seen too.
        families: simulator families to keep to, by degradation; all of those not named.
        layouts: what has a layout, raindrops and motion blur, comes with it.
    """

    photos: Sequence[PhotoRecord]
    size: int
    turns: Sequence[Degradation] = tuple(Degradation)
    uniform: float = 0.35
    families: Mapping[Degradation, Sequence[str]] = field(default_factory=dict)
    layouts: bool = False

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, k))
        kinds = list(Degradation)
        kind = kinds.index(self.turns[k % len(self.turns)])
        record = self.photos[int(rng.integers(len(self.photos)))]
        clean = read_crop(record, self.size, rng)
        families = self.families.get(kinds[kind])
        drawn = draw_intensity(kinds[kind], rng)
        mu = drawn.mu
        if kinds[kind].is_global and rng.random() >= self.uniform:
            request = DegradationRequest(kinds[kind], mu, drawn.sigma, int(rng.integers(2**62)), "")
            family = families[int(rng.integers(len(families)))] if families else None
            made = simulate(clean, request, family=family, candidates=CANDIDATES)
            return make_pair(to_uint8(clean), to_uint8(made.degraded), kind, record.caption)
        if rng.random() < self.uniform:
            filled = np.flatnonzero(published_histogram(kinds[kind]).joint.sum(1))
            mu = rng.uniform(0, (filled[-1] + 1) * 0.7 / 128)
        generator = torch_generator(int(rng.integers(2**62)))
        made = random_pair(clean, kinds[kind], generator, mu=mu, families=families, layouts=self.layouts)
        pair = make_pair(to_uint8(clean), to_uint8(made.degraded), kind, record.caption)
        if made.layout is not None:
            pair["layout"] = layout_bytes(made.layout)
        return pair


@dataclass(frozen=True)
class StoredPairs(PairSource):
    """Crops of existing pairs: shards of the data factory, GenDS, or folders lq and gt.

    Args:
        size: side of the square crop in pixels; smaller pairs are enlarged.
        smallest: enlarge pairs to this side only, so that crops of small ones are smaller than `size`; None
            for crops of one size.
        balanced: take turns over the degradations that are there, and over all pairs of each before one comes
            again; without it every pair is as likely as any other.
    """

    reader: PairReader
    size: int
    balanced: bool = False
    smallest: int | None = None

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, k))
        number = self._turn(seed, k) if self.balanced else int(rng.integers(len(self.reader)))
        entry = self.reader.entry(number)
        least = self.size if self.smallest is None else self.smallest
        clean, degraded = (_at_least(image, least) for image in entry.images())
        height, width = clean.shape[:2]
        side = min(self.size, height, width)
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        window = np.s_[top : top + side, left : left + side]
        flip = np.s_[:, ::-1] if rng.random() < 0.5 else np.s_[:, :]
        kind = kind_number(entry.degradation)
        return make_pair(clean[window][flip], degraded[window][flip], kind, entry.caption)

    @cached_property
    def _by_kind(self) -> list[np.ndarray]:
        """Numbers of the pairs of each degradation that is there."""
        kinds = self.reader.kinds()
        return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]

    def _turn(self, seed: int, k: int) -> int:
        turn, which = divmod(k, len(self._by_kind))
        numbers = self._by_kind[which]
        lap, place = divmod(turn, len(numbers))
        return int(numbers[_permutation(seed, lap, which, len(numbers))[place]])


@lru_cache(maxsize=2 * len(Degradation))
def _permutation(seed: int, lap: int, which: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, lap, which]).permutation(length)


def _at_least(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3), enlarged until no side is shorter than `size`."""
    height, width = pixels.shape[:2]
    if min(height, width) >= size:
        return pixels
    scale = size / min(height, width)
    larger = max(round(width * scale), size), max(round(height * scale), size)
    return np.asarray(Image.fromarray(pixels).resize(larger, Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class MixedPairs(PairSource):
    """Several sources; each pair comes from one of them with probability in proportion to its weight."""

    sources: Sequence[PairSource]
    weights: Sequence[float]

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, f"source {k}"))
        shares = np.array(self.weights) / sum(self.weights)
        return self.sources[rng.choice(len(self.sources), p=shares)].pair(seed, k)


class Numbered(Protocol):
    """A source of pairs, or of what is computed of them."""

    def pair(self, seed: int, k: int) -> Any: ...


class NumberedPairs(Dataset[Any]):
    """Pairs number `first` to `first + length - 1` of a source, for a DataLoader."""

    def __init__(self, source: Numbered, seed: int, length: int, first: int = 0) -> None:
        self.source, self.seed, self.length, self.first = source, seed, length, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.source.pair(self.seed, self.first + index)


def layout_bytes(layout: Tensor) -> Tensor:
    """A layout (..., 3, H, W) in [-1, 1] as bytes; 128 stands for 0."""
    return (128 + (127 * layout).round()).byte()


def layout_of(stored: Tensor) -> Tensor:
    """The layout (..., 3, H, W) in [-1, 1] that `layout_bytes` stored."""
    return (stored.float() - 128) / 127


def mirrored_layout(stored: Tensor) -> Tensor:
    """The stored layout of the mirrored picture.

    The second map changes its sign: the place in a drop to the right, the sine of twice the angle of motion.
    """
    turned = stored.flip(-1)
    return torch.stack([turned[..., 0, :, :], 0 - turned[..., 1, :, :], turned[..., 2, :, :]], -3)


def make_pair(clean: np.ndarray, degraded: np.ndarray, kind: int, caption: str) -> Pair:
    """A pair from uint8 images (H, W, 3), with mu and sigma as measured."""
    mu, sigma = measure_uint8(clean, degraded)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.copy()).permute(2, 0, 1)

    return Pair(
        clean=tensor(clean), degraded=tensor(degraded), degradation=kind, mu=mu, sigma=sigma, caption=caption
    )
