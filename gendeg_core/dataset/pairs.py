"""What every stored pair looks like to those who use it, wherever it was stored."""

from __future__ import annotations

import abc
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from gendeg_core.statistics import measure_uint8
from gendeg_core.types import Degradation


class PairsError(ValueError):
    """Stored pairs cannot be read; the message is one sentence for the person who asked."""


class StoredPair(TypedDict):
    """One pair, decoded; both images are uint8 RGB (H, W, 3) of the same size."""

    name: str
    target: np.ndarray  # what a restorer should return
    degraded: np.ndarray
    degradation: Degradation | None  # None: unknown, see `pairs_in`
    mu: float  # obtained, measured as published
    sigma: float
    caption: str
    accepted: bool


@dataclass(frozen=True)
class PairEntry:
    """One pair before its images are decoded.

    Args:
        name: item id or file, unique enough to find it again.
        target, degraded: an encoded image, or the file that holds one.
        degradation: None where it is unknown, which `pairs_in` lets pass only if it is told to.
        mu, sigma: obtained; None where nobody has measured them.
    """

    name: str
    target: bytes | Path
    degraded: bytes | Path
    degradation: Degradation | None
    mu: float | None = None
    sigma: float | None = None
    caption: str = ""
    accepted: bool = True

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Target and degraded image, uint8 RGB (H, W, 3).

        Raises:
            PairsError: one cannot be decoded, or they differ in size.
        """
        target, degraded = (_decode(image, self.name) for image in (self.target, self.degraded))
        if target.shape != degraded.shape:
            one, other = (f"{a.shape[1]}x{a.shape[0]}" for a in (target, degraded))
            raise PairsError(
                f"{self.name}: target ({one}) and degraded image ({other}) differ in size; cut them alike"
            )
        return target, degraded


class PairReader(abc.ABC):
    """A list of stored pairs with random access; it holds an index in memory, never the images."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def entry(self, k: int) -> PairEntry:
        """Pair number k, 0 <= k < len, not yet decoded."""

    def kinds(self) -> np.ndarray:
        """(len,) position in list(Degradation) of every pair, -1 where it is unknown."""
        return np.array([kind_number(self.entry(k).degradation) for k in range(len(self))], np.int64)

    def __getitem__(self, k: int) -> StoredPair:
        if not 0 <= k < len(self):
            raise IndexError(f"pair {k} of {len(self)}")
        entry = self.entry(k)
        target, degraded = entry.images()
        mu, sigma = entry.mu, entry.sigma
        if mu is None or sigma is None:
            mu, sigma = measure_uint8(target, degraded)
        return StoredPair(
            name=entry.name,
            target=target,
            degraded=degraded,
            degradation=entry.degradation,
            mu=mu,
            sigma=sigma,
            caption=entry.caption,
            accepted=entry.accepted,
        )

    def __iter__(self) -> Iterator[StoredPair]:
        return (self[k] for k in range(len(self)))


_SPELLINGS = {
    Degradation.HAZE: ("haze", "hazy", "fog", "foggy"),
    Degradation.RAIN: ("rain", "rainy", "rainstreak", "rainstreaks"),
    Degradation.SNOW: ("snow", "snowy"),
    Degradation.MOTION_BLUR: ("motionblur", "motion", "blur", "blurry"),
    Degradation.LOW_LIGHT: ("lowlight", "low", "dark"),
    Degradation.RAINDROP: ("raindrop", "raindrops"),
}
_KNOWN = {spelling: kind for kind, spellings in _SPELLINGS.items() for spelling in spellings}


def spelled(name: str) -> Degradation | None:
    """The degradation that a common spelling (Low-light, motion, Raindrops) means; None if it means none."""
    return _KNOWN.get(re.sub("[^a-z]", "", name.lower()))


def kind_number(degradation: Degradation | None) -> int:
    """Position in list(Degradation); -1 for an unknown one."""
    return -1 if degradation is None else list(Degradation).index(degradation)


def _decode(image: bytes | Path, name: str) -> np.ndarray:
    from PIL import Image, ImageOps

    where = str(image) if isinstance(image, Path) else f"an image of {name}"
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                raise PairsError(f"{where} is grey with more than 8 bits; save it as 8-bit RGB first")
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except FileNotFoundError:
        raise PairsError(f"{where} does not exist; the index names it, so add it or remove its row") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PairsError(f"{where} is damaged or no image ({error}); get a fresh copy of it") from error
