"""FID and KID against torchmetrics and against values by hand; the features against torch-fidelity."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from gendeg_core.metrics import distribution
from gendeg_core.metrics.distribution import fid, kid, load_inception
from tests.metrics.scenes import scene


class Features(torch.nn.Module):
    """Hands features on as they are, so that torchmetrics measures the same ones."""

    num_features = 7

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def features(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 7)) @ rng.normal(size=(7, 7)) + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(40, 50), (5, 40), (3, 4)])
def test_fid_is_that_of_torchmetrics(n: int, m: int) -> None:
    """Also where there are fewer images than features."""
    first, second = features(n, 0), features(m, 1, 0.5)
    metric = FrechetInceptionDistance(Features(), normalize=True)
    metric.update(torch.from_numpy(second), real=True)
    metric.update(torch.from_numpy(first), real=False)
    assert fid(first, second) == pytest.approx(float(metric.compute()), rel=1e-4)


def test_fid_by_hand() -> None:
    """In one dimension it is (m1 - m2)^2 + (s1 - s2)^2."""
    first, second = np.array([[0.0], [2.0]]), np.array([[3.0], [9.0]])  # s = 2^(1/2), 18^(1/2)
    assert fid(first, second) == pytest.approx(25 + (np.sqrt(18) - np.sqrt(2)) ** 2)
    assert fid(first, first) == pytest.approx(0, abs=1e-12)


def test_kid_is_that_of_torchmetrics() -> None:
    first, second = features(30, 0), features(30, 1, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = KernelInceptionDistance(Features(), subsets=1, subset_size=30)
    metric.update(torch.from_numpy(second), real=True)
    metric.update(torch.from_numpy(first), real=False)
    assert kid(first, second) == pytest.approx(float(metric.compute()[0]), rel=1e-4)


def test_kid_of_large_sets_is_drawn_from_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "KID_SUBSET", 20)
    first, second = features(30, 0), features(60, 0, 0.5)
    assert kid(first, second, seed=1) == kid(first, second, seed=1) != kid(first, second, seed=2)
    monkeypatch.setattr(distribution, "KID_SUBSET", 1000)
    whole = kid(first, second)
    monkeypatch.setattr(distribution, "KID_SUBSET", 29)
    assert kid(first, second) == pytest.approx(whole, rel=0.3)


@pytest.mark.slow
def test_inception_features_are_those_of_torch_fidelity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On random weights, stored as the published ones are."""
    from torch_fidelity import feature_extractor_inceptionv3 as published

    torch.save({"fc.weight": torch.zeros(1008, 2048)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part\.pth does not hold the Inception weights"):
        load_inception(tmp_path / "part.pth")
    with monkeypatch.context() as patch:
        patch.setattr(published, "load_state_dict_from_url", lambda *args, **how: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = published.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).eval()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    image = scene(60, 80)
    expected = network((image[None] * 255).round().to(torch.uint8))[0][0].numpy()
    found = load_inception(tmp_path / "inception.pth")(image)
    assert found.shape == (2048,)
    assert found.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
