"""Natural scene statistics and the Frechet distance in their space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from gendeg_core.metrics.scene_statistics import frechet_distance, scene_statistics


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    pixels = load_sample_image("china.jpg")[100:300, 200:420]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def test_colour_moments_of_a_flat_image_by_hand():
    """Constant (0.2, 0.4, 0.6): no structure; luma 0.363, dark channel 0.2, saturation 0.4, no spread."""
    image = torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, 20, 20)
    features = scene_statistics(image)
    assert features.shape == (38,)
    expected = [0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6, 0, 0.2, 0, 0.4, 0]
    assert np.allclose(features[-6:], expected, atol=1e-6)
    assert np.abs(features[:32]).max() < 0.02


def test_blur_noise_and_haze_move_the_features_apart(photo):
    blurred = torch.nn.functional.avg_pool2d(photo[None], 5, 1, 2)[0]
    noisy = (photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    hazy = 0.5 * photo + 0.4
    base = scene_statistics(photo)
    moved = [np.abs(scene_statistics(image) - base).max() for image in (blurred, noisy, hazy)]
    assert min(moved) > 0.05
    assert scene_statistics(hazy)[-4] > base[-4]  # haze lifts the dark channel
    assert scene_statistics(blurred)[2] < base[2]  # blur lowers the local deviation


def test_frechet_distance_is_zero_for_itself_and_the_squared_shift_for_a_shift():
    features = np.random.default_rng(0).normal(size=(400, 5))
    assert abs(frechet_distance(features, features)) < 1e-6
    shift = np.array([1.0, 0, 0, 0, 0]) * features.std(0)
    assert frechet_distance(features + shift, features) == pytest.approx(1.0, abs=1e-6)


def test_frechet_distance_of_spreads_by_hand():
    """One feature of twice the spread: (2 - 1)^2 = 1, independent of the shrinkage."""
    features = np.random.default_rng(1).normal(size=(300, 1))
    doubled = features.mean() + 2 * (features - features.mean())
    assert frechet_distance(np.hstack([doubled, features]), np.hstack([features, features])) >= 0
    distance = frechet_distance(
        np.column_stack([doubled[:, 0], -features[::-1, 0]]), np.column_stack([features, -features[::-1]])
    )
    assert distance == pytest.approx(1.0, abs=0.05)
