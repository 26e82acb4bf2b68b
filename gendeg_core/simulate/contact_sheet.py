"""A contact sheet of every simulator family: `python -m gendeg_core.simulate.contact_sheet PHOTOS OUT.png`.

One row per family, one column per intensity, the clean photo first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.simulate.photos import list_photos, load_square
from gendeg_core.simulate.registry import FAMILIES
from gendeg_core.simulate.strength import solve_strength
from gendeg_core.statistics import map_statistics, to_uint8
from gendeg_core.types import Degradation

INTENSITIES = {
    Degradation.HAZE: (0.05, 0.12, 0.25),
    Degradation.RAIN: (0.03, 0.08, 0.16),
    Degradation.SNOW: (0.03, 0.08, 0.16),
    Degradation.MOTION_BLUR: (0.015, 0.04, 0.08),
    Degradation.LOW_LIGHT: (0.08, 0.18, 0.27),
    Degradation.RAINDROP: (0.015, 0.04, 0.08),
}


def contact_sheet(photos: list[Path], *, size: int, seed: int, only: Degradation | None = None) -> Tensor:
    """(3, H, W) all families as rows; each row shows two photos, clean and at three intensities."""
    rows = []
    for degradation in Degradation:
        if only is not None and degradation != only:
            continue
        for name in FAMILIES[degradation]:
            cells = []
            for column in range(2):
                item = f"{degradation.value}/{name}/{column}"
                photo = load_square(photos[sample_seed(seed, item) % len(photos)], size)
                cells += _cells(photo, degradation, name, sample_seed(seed, item))
            rows.append(torch.cat(cells, dim=2))
    return torch.cat(rows, dim=1)


def _cells(photo: Tensor, degradation: Degradation, name: str, seed: int) -> list[Tensor]:
    render = FAMILIES[degradation][name](photo, torch_generator(seed))
    cells = [_label(photo, f"{degradation.label}: {name}")]
    for mu in INTENSITIES[degradation]:
        degraded = render(solve_strength(render, photo, mu))
        got_mu, got_sigma = map_statistics((degraded - photo).abs()[None])
        cells.append(_label(degraded, f"mu {got_mu.item():.3f} sigma {got_sigma.item():.3f}"))
    return cells


def _label(image: Tensor, text: str) -> Tensor:
    picture = Image.fromarray(to_uint8(image))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 7 + 6.2 * len(text), 13), fill=(0, 0, 0))
    draw.text((3, 1), text, fill=(255, 255, 255))
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of all simulator families.")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--size", type=int, default=192, help="side of one picture in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=Degradation.parse, default=None, help="one degradation")
    given = parser.parse_args(arguments)
    sheet = contact_sheet(list_photos(given.photos), size=given.size, seed=given.seed, only=given.only)
    Image.fromarray(to_uint8(sheet)).save(given.out)


if __name__ == "__main__":
    main()
