"""The filter: each reason by an image made to fail exactly that check, and good images that pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gendeg_core.dataset.filters import (
    REASONS,
    Verdict,
    changed_share,
    clipped_share,
    edge_alignment,
    judge,
    limits,
    parse_mu_limits,
)
from gendeg_core.simulate import simulate
from gendeg_core.statistics import measure, published_histogram
from gendeg_core.types import Degradation, DegradationRequest
from tests.simulate.scenes import photo

SIZE = 160


def clean() -> Tensor:
    """A photo without clipped values, so that what is clipped later is new."""
    return 0.1 + 0.8 * photo(SIZE)


def verdict(degraded: Tensor, degradation: str) -> Verdict:
    return judge(clean(), degraded, Degradation.parse(degradation), measure(clean(), degraded)[0])


# ------------------------------------------------------------------ limits


def test_the_limits_of_mu_are_where_the_published_histograms_end() -> None:
    width = 0.7 / 128
    most = {d.value: round(limits(d).mu_most / width) for d in Degradation}
    assert most == {"haze": 52, "rain": 52, "snow": 52, "motion_blur": 23, "low_light": 52, "raindrop": 37}
    for degradation in Degradation:
        counts = published_histogram(degradation).joint.sum(1)
        least = round(limits(degradation).mu_least / width)
        assert counts[:least].sum() < 0.001 * counts.sum() <= counts[: least + 1].sum()
    assert limits(Degradation.HAZE).mu_least == pytest.approx(4 * width)
    assert limits(Degradation.SNOW).mu_least == 0


# ------------------------------------------------------------------ reasons, one by one


def test_a_copy_is_a_duplicate_though_its_mu_is_allowed() -> None:
    noisy = (clean() + 0.02 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))).clamp(
        0, 1
    )
    nearly = clean() + (noisy - clean()).clamp(-7 / 255, 7 / 255)
    assert measure(clean(), nearly)[0] >= limits(Degradation.SNOW).mu_least
    found = verdict(nearly, "snow")
    assert (found.accepted, found.word) == (False, "duplicate")
    assert "0.000% of the pixels" in found.reason


def test_few_drops_on_an_untouched_photo_are_no_duplicate() -> None:
    degraded = clean().clone()
    degraded[:, 20:28, 20:28] = 0.75  # 64 of 25,600 pixels
    assert verdict(degraded, "snow").accepted


def test_a_wisp_of_haze_is_weak() -> None:
    degraded = clean().clone()
    degraded[:, :30] = 0.85 * degraded[:, :30] + 0.15 * 0.95
    found = verdict(degraded, "haze")
    assert found.word == "weak"
    assert f"mu {measure(clean(), degraded)[0]:.4f} is below 0.0219" in found.reason


def test_a_night_of_blur_is_strong() -> None:
    degraded = 0.65 * clean()
    assert verdict(degraded, "low_light").accepted
    found = verdict(degraded, "motion_blur")
    assert found.word == "strong"
    assert "above 0.1258, the most for motion blur" in found.reason


def test_a_washed_out_image_is_saturated() -> None:
    bright = clean().flatten().sort().values[-int(0.15 * clean().numel())].item()
    degraded = torch.where(clean() >= bright, torch.ones(()), clean())
    found = verdict(degraded, "rain")
    assert found.word == "saturated"
    assert found.clipped == pytest.approx(0.15, abs=0.01)
    assert found.alignment > limits(Degradation.RAIN).least_alignment
    assert verdict(torch.where(clean() <= 0.3, torch.zeros(()), 0.6 * clean()), "low_light").accepted


@pytest.mark.parametrize("degradation", list(Degradation))
def test_another_scene_has_lost_the_structure(degradation: Degradation) -> None:
    other = 0.1 + 0.8 * photo(SIZE, "flower.jpg")
    # The other scene is mixed with grey until its distance is allowed; the check sees edges, not contrast.
    grey = clean().mean()
    degraded = grey + 0.15 * (other - other.mean())
    mu = limits(degradation).mu_most * 0.9
    found = judge(clean(), degraded, degradation, mu)
    assert found.word == "structure"
    assert f"edges agree by {found.alignment:.3f}" in found.reason
    assert verdict(clean(), degradation).word == "duplicate"


def test_a_shifted_image_has_lost_the_structure() -> None:
    degraded = torch.roll(clean(), (SIZE // 12, SIZE // 12), (1, 2))
    found = judge(clean(), degraded, Degradation.HAZE, 0.1)
    assert found.word == "structure"


def test_every_reason_was_failed() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'.word == "{word}"' in tested or f'(False, "{word}")' in tested for word in REASONS)


# ------------------------------------------------------------------ what passes


@pytest.mark.parametrize("degradation", list(Degradation))
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_simulated_images_pass_from_weak_to_strong(degradation: Degradation, name: str) -> None:
    target = photo(128, name)
    counts = np.cumsum(published_histogram(degradation).joint.sum(1))
    for quantile in (0.1, 0.5, 0.95):
        mu = (int(np.searchsorted(counts, quantile * counts[-1])) + 0.5) * 0.7 / 128
        degraded = simulate(target, DegradationRequest(degradation, mu, mu, 3), candidates=3).degraded
        found = judge(target, degraded, degradation, measure(target, degraded)[0])
        assert found.accepted, f"mu {mu:.3f}: {found.reason}"
        assert found.reason == found.word == ""


def test_fog_darkness_and_blur_keep_the_edges_in_place() -> None:
    ramp = torch.linspace(0.1, 0.9, SIZE)[:, None]
    assert edge_alignment(clean(), clean()) == pytest.approx(1, abs=1e-4)
    assert edge_alignment(clean(), clean() * (1 - ramp) + 0.9 * ramp) > 0.9
    assert edge_alignment(clean(), 0.05 * clean()) > 0.95
    smeared = torch.stack([torch.roll(clean(), k, 2) for k in range(-4, 5)]).mean(0)
    assert edge_alignment(clean(), smeared) > 0.6
    assert edge_alignment(clean(), 1 - clean()) == pytest.approx(0, abs=0.01)  # opposite edges
    assert edge_alignment(clean(), torch.full_like(clean(), 0.5)) == pytest.approx(0, abs=0.01)


# ------------------------------------------------------------------ the measures


def test_measures_of_a_hand_made_pair() -> None:
    target = torch.full((3, 10, 10), 0.5)
    degraded = target.clone()
    degraded[0, 0, :] = 1.0  # 10 of 300 values
    degraded[:, 1, :5] = 0.0  # 15 of 300 values
    degraded[:, 2, :] = 0.53  # a change of 7.65 / 255
    target[2, 9, :], degraded[2, 9, :] = 1.0, 1.0  # white before
    target[1, 8, :], degraded[1, 8, :] = 0.0, 0.0  # black before
    assert clipped_share(target, degraded) == pytest.approx(25 / 300)
    assert changed_share(target, degraded) == pytest.approx(15 / 100)


def test_small_long_and_flat_images_are_judged() -> None:
    assert edge_alignment(torch.full((3, 40, 40), 0.3), torch.rand(3, 40, 40)) == 1.0
    for size in ((1, 1), (3, 200), (700, 9)):
        target = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
        assert 0 <= judge(target, 0.7 * target, Degradation.LOW_LIGHT, 0.15).alignment <= 1


def test_pairs_that_cannot_be_judged_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) and degraded \(3, 8, 9\)"):
        judge(torch.rand(3, 8, 8), torch.rand(3, 8, 9), Degradation.HAZE, 0.1)
    broken = torch.rand(3, 8, 8)
    broken[0, 0, 0] = torch.nan
    for degraded, mu in ((broken, 0.1), (torch.rand(3, 8, 8), float("nan"))):
        with pytest.raises(ValueError, match="NaN"):
            judge(torch.rand(3, 8, 8), degraded, Degradation.HAZE, mu)


# ------------------------------------------------------------------ limits of one's own


def test_limits_of_ones_own_decide() -> None:
    degraded = (clean() * 0.8 + 0.1).clamp(0, 1)
    mu = measure(clean(), degraded)[0]
    assert judge(clean(), degraded, Degradation.HAZE, mu).accepted
    above = parse_mu_limits([f"haze={mu + 0.01:.4f}:0.9"])
    assert judge(clean(), degraded, Degradation.HAZE, mu, above).word == "weak"
    below = parse_mu_limits([f"haze=0:{mu - 0.01:.4f}", "rain=0.1:0.2"])
    assert judge(clean(), degraded, Degradation.HAZE, mu, below).word == "strong"
    assert judge(clean(), degraded, Degradation.HAZE, mu, parse_mu_limits(["rain=0.8:0.9"])).accepted


@pytest.mark.parametrize("word", ["haze", "haze=0.1", "haze=a:b", "haze=0.5:0.1", "haze=-1:0.5", "fog=0:1"])
def test_a_limit_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=word.partition("=")[0]):
        parse_mu_limits([word])
