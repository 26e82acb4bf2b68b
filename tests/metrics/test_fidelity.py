"""PSNR, SSIM and MS-SSIM against values by hand and against other people's implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from gendeg_core.metrics import fidelity
from gendeg_core.metrics.fidelity import as_stored, ms_ssim, psnr, ssim
from gendeg_core.seeds import torch_generator
from tests.metrics.scenes import noisy, scene


def test_psnr_by_hand() -> None:
    clean = torch.full((3, 4, 5), 0.5)
    assert psnr(clean + 0.1, clean) == pytest.approx(20, abs=1e-4)
    one_pixel = clean.clone()
    one_pixel[0, 0, 0] = 1.0  # mean square 0.25 / 60
    assert psnr(one_pixel, clean) == pytest.approx(-10 * math.log10(0.25 / 60), abs=1e-5)
    assert psnr(clean, clean) == 100


@pytest.mark.parametrize("size", [(6, 6), (37, 50), (300, 211)])
def test_ssim_is_that_of_torchmetrics(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    clean = scene(*size)
    restored = noisy(clean, 0.1)
    expected = float(
        structural_similarity_index_measure(restored[None].double(), clean[None].double(), data_range=1.0)
    )
    assert ssim(restored, clean) == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(fidelity, "_BAND_PIXELS", 7 * size[1])  # bands that do not divide the height
    assert ssim(restored, clean) == pytest.approx(expected, abs=1e-9)


def test_ssim_agrees_with_scikit_image_away_from_the_border() -> None:
    clean = scene(400, 400)
    restored = noisy(clean, 0.05)
    first, second = (image.permute(1, 2, 0).double().numpy() for image in (restored, clean))
    expected = structural_similarity(
        first, second, data_range=1.0, channel_axis=2, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(restored, clean) == pytest.approx(expected, abs=2e-3)  # scikit-image leaves the border out
    assert psnr(restored, clean) == pytest.approx(peak_signal_noise_ratio(second, first, data_range=1.0))


def test_ssim_of_flat_images_by_hand() -> None:
    """Without structure only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1)."""
    first, second = torch.full((3, 20, 20), 0.2), torch.full((3, 20, 20), 0.6)
    assert ssim(first, second) == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-4)


def test_more_noise_is_less_alike_and_equal_is_one() -> None:
    clean = scene(176, 180)
    for metric in (ssim, ms_ssim):
        values = [metric(noisy(clean, amount), clean) for amount in (0, 0.02, 0.1, 0.3)]
        assert values[0] == pytest.approx(1, abs=1e-6)
        assert values == sorted(values, reverse=True)


def test_ms_ssim_weighs_five_scales() -> None:
    """The published exponents sum to 1; MS-SSIM of a blur-free pair lies above its SSIM, as published."""
    clean = scene(176, 192)
    restored = noisy(clean, 0.1)
    expected = multiscale_structural_similarity_index_measure(
        restored[None], clean[None], data_range=1.0, betas=(0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    )
    assert ms_ssim(restored, clean) == pytest.approx(float(expected), abs=1e-5)
    assert ms_ssim(restored, clean) > ssim(restored, clean)


def test_stored_values_are_multiples_of_one_255th() -> None:
    image = torch.rand((3, 8, 8), generator=torch_generator(0)) * 1.4 - 0.2
    stored = as_stored(image)
    assert stored.min() == 0
    assert stored.max() == 1
    np.testing.assert_allclose(stored * 255, (stored * 255).round(), atol=1e-4)
    assert float((stored - image.clamp(0, 1)).abs().max()) <= 0.5 / 255 + 1e-6


def test_what_cannot_be_compared_is_said() -> None:
    image = scene(20, 20)
    with pytest.raises(ValueError, match=r"PSNR compares two images .* not \(3, 20, 20\) and \(3, 20, 19\)"):
        psnr(image, image[..., :19])
    with pytest.raises(ValueError, match="SSIM needs 6 pixels on each side, not 20x5"):
        ssim(image[:, :5], image[:, :5])
    with pytest.raises(ValueError, match="MS-SSIM needs 176 pixels"):
        ms_ssim(image, image)
