"""Arrangements of drops and what each pixel sees of them, against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.scatter.panes import ARRANGEMENTS, Arrangement, pane_of
from gendeg_core.scatter.particles import Discs
from gendeg_core.seeds import torch_generator


def discs(*rows: tuple[float, float, float, float]) -> Arrangement:
    """Round drops with hard edges: y, x, radius in short sides, and rank."""
    y, x, radius, rank = (torch.tensor(values) for values in zip(*rows, strict=True))
    zero = torch.zeros(len(rows))
    return Arrangement(Discs(y, x, radius, zero + 1, zero, zero + 0.01, zero, zero, rank), zero)


def test_a_drop_lies_where_it_was_put():
    mask, u, v = pane_of(discs((0.5, 0.5, 0.25, 0.0)), 64, 64).layout(1.0)
    assert mask[32, 32] > 0.99
    assert mask[32, 45] > 0.9  # 13.5 of 16 pixels to the right
    assert mask[32, 49] == 0
    assert mask.mean().item() == pytest.approx(torch.pi / 16, abs=0.02)  # of the area of a disc of radius 1/4
    assert u[32, 40].item() == pytest.approx(8.5 / 16, abs=1e-3)
    assert v[40, 32].item() == pytest.approx(8.5 / 16, abs=1e-3)
    assert v[24, 32].item() == pytest.approx(-7.5 / 16, abs=1e-3)
    assert u[0, 0] == v[0, 0] == 0


@pytest.mark.parametrize("name", list(ARRANGEMENTS))
def test_water_grows_with_the_strength_and_is_the_same_at_every_size(name):
    arrangement = ARRANGEMENTS[name](96, 128, torch_generator(3))
    pane = pane_of(arrangement, 96, 128)
    shares = [pane.water(strength) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
    small, large = (pane_of(arrangement, 192 * k, 256 * k).layout(0.7) for k in (1, 2))
    halved = torch.nn.functional.avg_pool2d(large, 2)
    assert (small[0] - halved[0]).abs().mean() < 0.02


def test_trails_show_their_middle_and_drops_are_seen_from_top_to_bottom():
    arrangement = ARRANGEMENTS["running"](128, 128, torch_generator(0))
    pane = pane_of(arrangement, 128, 128)
    mask, _, v = pane.layout(1.0)
    trail = (pane.upright > 0) & (mask > 0)
    assert trail.any()
    assert (v[trail] == 0).all()
    assert v[~trail].abs().max() > 0.5


def test_a_drop_still_to_come_hides_none():
    arrangement = discs((0.5, 0.5, 0.2, 0.0), (0.5, 0.55, 0.2, 0.9))  # the second covers part of the first
    alone = pane_of(discs((0.5, 0.5, 0.2, 0.0)), 64, 64).layout(0.5)
    assert torch.equal(pane_of(arrangement.limited_to(0.5), 64, 64).layout(0.5), alone)
    assert not torch.equal(pane_of(arrangement, 64, 64).layout(0.5), alone)
    assert len(arrangement.limited_to(1.0).upright) == 2
