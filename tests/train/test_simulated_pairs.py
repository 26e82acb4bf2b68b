"""What simulated training pairs teach about sigma, and about where drops lie."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gendeg_core.types import Degradation
from train.common import pairs
from train.common.photos import list_photos
from train.common.pool import PairPool


@pytest.mark.parametrize("degradation", [Degradation.HAZE, Degradation.LOW_LIGHT])
def test_where_all_of_a_photo_changes_sigma_follows_the_drawn_one(
    photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, degradation: Degradation
) -> None:
    source = pairs.SimulatedPairs(list_photos(*photos), 48, uniform=0)
    kind = list(Degradation).index(degradation)

    def mean_sigma(drawn: float) -> float:
        monkeypatch.setattr(pairs, "draw_intensity", lambda *_: SimpleNamespace(mu=0.12, sigma=drawn))
        return float(np.mean([source.pair(0, kind + 6 * k)["sigma"] for k in range(10)]))

    assert mean_sigma(0.2) > mean_sigma(0.02) + 0.02


@pytest.fixture
def drops(photos: tuple[Path, Path]) -> pairs.SimulatedPairs:
    families = {Degradation.RAINDROP: ("drops",)}
    return pairs.SimulatedPairs(
        list_photos(*photos), 48, (Degradation.RAINDROP,), families=families, layouts=True
    )


def test_the_layout_of_a_pair_covers_what_changed(drops: pairs.SimulatedPairs) -> None:
    inside, outside = [], []
    for k in range(12):
        pair = drops.pair(0, k)
        change = (pair["degraded"].float() - pair["clean"].float()).abs().mean(0)
        mask = pairs.layout_of(pair["layout"])[0]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        inside.append(float(change[mask > 0.5].mean()))
        outside.append(float(change[mask == 0].mean()))
    assert np.nanmean(inside) > 5 * np.nanmean(outside)


def test_only_pairs_that_are_asked_for_it_have_a_layout(photos: tuple[Path, Path]) -> None:
    source = pairs.SimulatedPairs(list_photos(*photos), 48, (Degradation.RAINDROP,))
    assert "layout" not in source.pair(0, 0)


def test_layouts_are_stored_in_bytes_and_mirrored_with_the_picture() -> None:
    layout = torch.tensor([[[0.0, 1.0]], [[-1.0, 0.5]], [[0.0, -0.5]]])
    stored = pairs.layout_bytes(layout)
    assert stored.tolist() == [[[128, 255]], [[1, 192]], [[128, 64]]]
    assert torch.allclose(pairs.layout_of(stored), layout, atol=0.5 / 127)
    mirrored = pairs.layout_of(pairs.mirrored_layout(stored))
    assert torch.allclose(
        mirrored, torch.tensor([[[1.0, 0.0]], [[-0.5, 1.0]], [[-0.5, 0.0]]]), atol=0.5 / 127
    )


def test_a_pool_keeps_layouts_and_mirrors_them(drops: pairs.SimulatedPairs, tmp_path: Path) -> None:
    pool = PairPool(drops, 0, 6, tmp_path)
    flips = set()
    for k in range(12):
        _, place, flipped = pool.place(1, k)
        original, pair = drops.pair(0, place), pool.pair(1, k)
        expected = original["layout"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        expected = pairs.mirrored_layout(expected) if flipped else expected
        assert torch.equal(pair["layout"], expected)  # pyright: ignore[reportTypedDictNotRequiredAccess]
        flips.add(flipped)
    assert flips == {True, False}
