"""The heat map and the background of the pad show the numbers they are made from, the right way round."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from app.figures import heat_map, histogram_background, scale_top
from gendeg_core.statistics import published_histogram
from gendeg_core.types import Degradation


@pytest.mark.parametrize("degradation", Degradation)
def test_the_background_puts_mu_across_and_large_sigma_on_top(degradation: Degradation) -> None:
    picture = histogram_background(degradation)
    rows = np.frombuffer(base64.b64decode(picture["data"]), np.uint8)
    rows = rows.reshape(picture["height"], picture["width"])
    joint = published_histogram(degradation).joint
    mu_bin, sigma_bin = np.unravel_index(joint.argmax(), joint.shape)
    assert rows[len(rows) - 1 - sigma_bin, mu_bin] == rows.max() > 0
    assert (rows.T[:, ::-1][joint == 0] == 0).all()


def test_the_heat_map_is_bright_where_the_change_is() -> None:
    change = torch.zeros(3, 60, 80)
    change[:, :, 40:] = 0.5
    pixels = np.asarray(heat_map(change)).astype(int)
    half = pixels.shape[1] // 2
    left, right = pixels[50:300, 20 : half - 20, :3].sum(-1), pixels[50:300, half + 20 : -20, :3].sum(-1)
    assert left.max() < 60
    assert right.min() > 500


def test_long_and_tall_photos_give_a_bounded_figure() -> None:
    for shape in ((3, 4, 1000), (3, 1000, 4), (3, 1, 1)):
        assert max(heat_map(torch.rand(shape)).size) <= 1000


@pytest.mark.parametrize(("value", "top"), [(0.0, 0.05), (0.04, 0.05), (0.11, 0.2), (0.65, 0.7), (1.0, 1.0)])
def test_the_scale_ends_at_the_next_round_value(value: float, top: float) -> None:
    assert scale_top(np.full((10, 10), value)) == top
