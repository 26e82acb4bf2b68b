"""A map for tests: tiny random DA-CLIP weights and photos of one colour each, in six clear clusters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from app import embedders, explore_sources
from app.embedders import Seen
from app.shipped_map import Member, write_bundle
from gendeg_core.embed import loading
from gendeg_core.types import Degradation
from gendeg_core.weights import folder_identity
from tests.embed.tiny_daclip import tiny_weights

COUNT = 60
DIMENSIONS = 16  # of the tiny weights
KINDS = list(Degradation)


def colour_of(row: int, partner: str = "") -> tuple[int, int, int]:
    """The one colour of a picture: it tells row and partner."""
    return (37 * row % 256, 91 * row % 256, {"": 20, "clean": 120, "restored": 220}[partner])


def members(weights: str) -> list[Member]:
    rng = np.random.default_rng(5)
    centres = rng.normal(0, 1, (len(KINDS), DIMENSIONS))
    made = []
    for row in range(COUNT):
        kind = KINDS[row % 6]
        embedding = (centres[row % 6] + 0.1 * rng.normal(0, 1, DIMENSIONS)).astype(np.float32)
        name = f"square{row}_{kind}"
        pictures = {f"{name}{end}": _webp(colour_of(row, end)) for end in ("", "clean", "restored")}
        facts = {
            "path": name, "set": "existing" if row < 30 else "GenDS", "dataset": "drawn", "label": str(kind),
            "mu": 0.01 * row, "sigma": 0.1, "mu_asked": 0.01 * row + 0.005, "sigma_asked": 0.11, "seed": row,
            "engine": "simulator", "caption": f"square number {row}", "clean": f"{name}clean",
            "restored": f"{name}restored",
        }  # fmt: skip
        seen = Seen(embedding[::-1].copy(), embedding, {str(kind): 0.9}, weights)
        made.append(Member(facts, seen, pictures, None))
    return made


def _webp(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(file, "WEBP", lossless=True)
    return file.getvalue()


@contextmanager
def installed(folder: Path, *, weights: bool = True, shipped: bool = True) -> Iterator[Path]:
    """Tiny weights and a map made with them stand where the shipped ones do while the context is open."""
    daclip, explore = folder / "daclip", folder / "explore"
    if not daclip.is_dir():
        tiny_weights(daclip)
        write_bundle(explore, members(folder_identity(daclip)), {"photos": COUNT})
    nowhere = folder / "nowhere"
    with (
        mock.patch.object(loading, "SHIPPED", daclip if weights else nowhere),
        mock.patch.object(explore_sources, "SHIPPED", explore if shipped else nowhere),
        mock.patch.dict(embedders._loaded, clear=True),
        mock.patch.object(embedders, "_default", []),
    ):
        yield folder
