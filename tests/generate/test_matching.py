"""Intensity matching: asked mu and sigma are met, within limits."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.generate.matching import match_intensity, match_mean
from gendeg_core.statistics import measure
from gendeg_core.types import Degradation, DegradationRequest
from tests.generate.test_full_size import texture


def veils() -> torch.Tensor:
    """Three grey veils side by side, 0.02, 0.1 and 0.2 strong: mu 0.107, sigma 0.074."""
    return torch.cat([torch.full((3, 256, w), s) for w, s in ((85, 0.02), (86, 0.1), (85, 0.2))], 2)


def test_matching_the_mean_scales_the_difference() -> None:
    clean = texture(64, 64) * 0.5 + 0.2
    matched = match_mean(clean, torch.full_like(clean, 0.1), 0.15)
    assert abs(measure(clean, matched)[0] - 0.15) < 1e-3
    assert torch.allclose(matched - clean, torch.full_like(clean, 0.15), atol=2e-3)


def test_matching_the_mean_never_exceeds_its_range_of_gains() -> None:
    clean = torch.full((3, 32, 32), 0.5)
    matched = match_mean(clean, torch.full_like(clean, 0.01), 0.3)
    assert torch.allclose(matched, clean + 0.025, atol=1e-6)


@pytest.mark.parametrize("degradation", [Degradation.HAZE, Degradation.SNOW])
@pytest.mark.parametrize("sigma", [0.05, 0.06, 0.08])
def test_sigma_is_moved_by_making_the_difference_more_or_less_uneven(
    degradation: Degradation, sigma: float
) -> None:
    clean = texture(256, 256) * 0.3 + 0.2
    matched = match_intensity(clean, clean + veils(), DegradationRequest(degradation, 0.1, sigma, 0))
    mu, obtained = measure(clean, matched)
    assert abs(mu - 0.1) < 1e-3
    assert abs(obtained - sigma) < 2e-3
    columns = (matched - clean).mean((0, 1))
    assert columns[20] < columns[128] < columns[230]


def test_a_veil_gets_uneven_over_wide_areas_and_marks_one_by_one() -> None:
    """Stripes of 0.1 and 0.15 on wide veils: low light keeps their ratio, snow sharpens it."""
    clean = torch.full((3, 256, 256), 0.3)
    stripes = 1 + 0.5 * (torch.arange(256) // 12 % 2)
    ratio = {}
    for degradation in (Degradation.LOW_LIGHT, Degradation.SNOW):
        request = DegradationRequest(degradation, 0.13, 0.11, 0)
        change = match_intensity(clean, clean + veils() * stripes, request) - clean
        ratio[degradation] = float(change[..., 126].mean() / change[..., 138].mean())  # 10 and 11 times 12
    assert ratio[Degradation.LOW_LIGHT] == pytest.approx(1 / 1.5, rel=0.07)
    assert ratio[Degradation.SNOW] < 0.9 / 1.5


def test_a_blur_is_hardly_made_stronger_where_it_is_strong() -> None:
    clean = torch.full((3, 256, 256), 0.3)
    steps = {}
    for degradation in (Degradation.MOTION_BLUR, Degradation.SNOW):
        request = DegradationRequest(degradation, 0.1, 0.12, 0)
        change = (match_intensity(clean, clean + veils(), request) - clean).mean((0, 1))
        steps[degradation] = float(change[200] / change[128])
    assert steps[Degradation.SNOW] > 3
    assert 2 < steps[Degradation.MOTION_BLUR] < 2.5  # painted: 2


def test_an_untouched_photo_is_left_alone() -> None:
    clean = texture(32, 32)
    request = DegradationRequest(Degradation.RAIN, 0.3, 0.1, 0)
    assert torch.equal(match_intensity(clean, clean, request), clean)
