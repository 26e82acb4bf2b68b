"""The four measurements against pictures whose values are known by hand."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.metrics.appearance import appearance


def test_a_flat_grey_has_brightness_only() -> None:
    found = appearance(torch.full((3, 8, 8), 0.4))
    assert found.brightness == pytest.approx(0.4, abs=1e-6)
    assert (found.contrast, found.detail, found.noise) == pytest.approx((0, 0, 0), abs=1e-6)


def test_stripes_by_hand() -> None:
    """Columns 0, 1, 0, 1: every step across is 1, none down; half of the pixels are white."""
    image = torch.zeros(3, 4, 4)
    image[:, :, 1::2] = 1
    found = appearance(image)
    assert (found.brightness, found.contrast) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert found.detail == pytest.approx(12 / 24, abs=1e-6)


def test_noise_is_found_on_a_slope_which_is_none() -> None:
    slope = torch.linspace(0.2, 0.8, 128).expand(3, 128, 128)
    assert appearance(slope).noise == pytest.approx(0, abs=1e-5)
    noise = 0.05 * torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(3))
    assert appearance(slope + noise).noise == pytest.approx(0.05, rel=0.05)


def test_one_pixel_is_measured_too() -> None:
    found = appearance(torch.full((3, 1, 1), 0.2))
    assert (found.contrast, found.detail, found.noise) == (0, 0, 0)
