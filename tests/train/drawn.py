"""Photos and pairs drawn in code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from train.common.pairs import Pair, PairSource

PHOTOS = 12


def draw_photo(number: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    """A vertical gradient with a few rectangles."""
    rng = np.random.default_rng(number)
    sky, ground = rng.integers(40, 120, 3), rng.integers(140, 255, 3)
    column = np.linspace(sky, ground, size[1])[:, None]
    image = Image.fromarray(column.repeat(size[0], 1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top, width, height = (int(v) for v in rng.integers(4, 40, 4))
        draw.rectangle(
            (left, top, left + width, top + height), fill=tuple(int(v) for v in rng.integers(0, 255, 3))
        )
    return image


def draw_photos(folder: Path) -> tuple[Path, Path]:
    """A folder of twelve photos, and a caption file beside it."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    rows = ["file,caption,suitable"]
    for number in range(PHOTOS):
        draw_photo(number).save(photos / f"photo-{number:02d}.png")
        rows.append(f"photo-{number:02d}.png,a house by road {number},1")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return photos, folder / "captions.csv"


class NoisePairs(PairSource):
    """Pairs of random bytes: quick, and different for every number; remembers which were asked for."""

    def __init__(self, size: int = 16) -> None:
        self.size, self.asked = size, []

    def pair(self, seed: int, k: int) -> Pair:
        self.asked.append(k)
        rng = np.random.default_rng([seed, k])
        clean, degraded = torch.from_numpy(rng.integers(0, 256, (2, 3, self.size, self.size), np.uint8))
        return Pair(
            clean=clean, degraded=degraded, degradation=k % 6, mu=k / 1000, sigma=0.1, caption=f"photo {k}"
        )
