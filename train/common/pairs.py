"""Training pairs: simulated on photos, or read from folders of existing pairs, mixed by weight.

Pair number k is a function of (seed, k) alone, whatever process asks for it.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.simulate import random_pair
from gendeg_core.statistics import draw_intensity, measure_uint8, published_histogram, to_uint8
from gendeg_core.types import Degradation
from train.common.errors import UsageError
from train.common.photos import SUFFIXES, PhotoRecord, read_crop


class Pair(TypedDict):
    clean: Tensor  # (3, S, S) uint8
    degraded: Tensor  # (3, S, S) uint8
    degradation: int  # position in list(Degradation)
    mu: float
    sigma: float
    caption: str
    latents: NotRequired[Tensor]  # (3C, h, w): what a frozen VAE makes of both images


class PairSource(abc.ABC):
    """What a source of pairs offers: pair number k, made from (seed, k) alone."""

    @abc.abstractmethod
    def pair(self, seed: int, k: int) -> Pair: ...


@dataclass(frozen=True)
class SimulatedPairs(PairSource):
    """Photos degraded by the physical simulators, mu drawn from the published histograms.

    Args:
        photos: clean photos.
        size: side of the square crop in pixels.
        uniform: share of pairs whose mu is uniform over the published range instead, so that the sparse
            ends of the histogram are seen too.
    """

    photos: Sequence[PhotoRecord]
    size: int
    uniform: float = 0.35

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, k))
        kinds = list(Degradation)
        kind = k % len(kinds)
        record = self.photos[int(rng.integers(len(self.photos)))]
        clean = read_crop(record, self.size, rng)
        mu = draw_intensity(kinds[kind], rng).mu
        if rng.random() < self.uniform:
            filled = np.flatnonzero(published_histogram(kinds[kind]).joint.sum(1))
            mu = rng.uniform(0, (filled[-1] + 1) * 0.7 / 128)
        generator = torch_generator(int(rng.integers(2**62)))
        made = random_pair(clean, kinds[kind], generator, mu=mu)
        return _pair(to_uint8(clean), to_uint8(made.degraded), kind, record.caption)


@dataclass(frozen=True)
class FolderPairs(PairSource):
    """Existing pairs on disk: `folder`/lq and `folder`/gt with the same file names.

    Raises:
        UsageError: a file of lq has no partner in gt, or the folder holds no pair.
    """

    folder: Path
    degradation: Degradation
    size: int

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError(
                f"no pair in {self.folder}; it must hold folders lq and gt with equal file names"
            )
        for name in self.names:
            if not (self.folder / "gt" / name).is_file():
                raise UsageError(
                    f"{self.folder / 'lq' / name} has no partner in gt; add it or remove the file"
                )

    @property
    def names(self) -> list[str]:
        return sorted(p.name for p in (self.folder / "lq").glob("*") if p.suffix.lower() in SUFFIXES)

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, k))
        name = self.names[rng.integers(len(self.names))]
        clean, degraded = (self._read(part, name) for part in ("gt", "lq"))
        height, width = clean.shape[:2]
        top, left = rng.integers(0, height - self.size + 1), rng.integers(0, width - self.size + 1)
        window = np.s_[top : top + self.size, left : left + self.size]
        flip = np.s_[:, ::-1] if rng.random() < 0.5 else np.s_[:, :]
        clean, degraded = clean[window][flip], degraded[window][flip]
        return _pair(clean, degraded, list(Degradation).index(self.degradation), "")

    def _read(self, part: str, name: str) -> np.ndarray:
        with Image.open(self.folder / part / name) as opened:
            image = opened.convert("RGB")
        if min(image.size) < self.size:
            scale = self.size / min(image.size)
            image = image.resize(
                [max(round(s * scale), self.size) for s in image.size], Image.Resampling.LANCZOS
            )
        return np.asarray(image)


@dataclass(frozen=True)
class MixedPairs(PairSource):
    """Several sources; each pair comes from one of them with probability in proportion to its weight."""

    sources: Sequence[PairSource]
    weights: Sequence[float]

    def pair(self, seed: int, k: int) -> Pair:
        rng = np.random.default_rng(sample_seed(seed, f"source {k}"))
        shares = np.array(self.weights) / sum(self.weights)
        return self.sources[rng.choice(len(self.sources), p=shares)].pair(seed, k)


class NumberedPairs(Dataset[Pair]):
    """Pairs number `first` to `first + length - 1` of a source, for a DataLoader."""

    def __init__(self, source: PairSource, seed: int, length: int, first: int = 0) -> None:
        self.source, self.seed, self.length, self.first = source, seed, length, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        return self.source.pair(self.seed, self.first + index)


def _pair(clean: np.ndarray, degraded: np.ndarray, kind: int, caption: str) -> Pair:
    mu, sigma = measure_uint8(clean, degraded)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.copy()).permute(2, 0, 1)

    return Pair(
        clean=tensor(clean), degraded=tensor(degraded), degradation=kind, mu=mu, sigma=sigma, caption=caption
    )
