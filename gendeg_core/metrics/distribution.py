"""How far a set of restored images is from the set of clean ones: FID and KID on Inception features.

Features come from the Inception of the original FID through torchmetrics. The distances are those of
torchmetrics (a test holds them together), computed from the features themselves: the Frechet distance without
a 2048 x 2048 eigenvalue problem, KID without global random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gendeg_core.metrics.perceptual import read_state

KID_SUBSETS, KID_SUBSET = 100, 1000


def load_inception(weights: Path, device: str = "cpu") -> Callable[[Tensor], np.ndarray]:
    """The original Inception features: a function of (3, H, W) in [0, 1] that returns (2048,) float32.

    Images are rounded to 8 bits and resized to 299 x 299 as in TensorFlow 1, as for the original FID.

    Args:
        weights: the file of torch-fidelity, weights-inception-2015-12-05.

    Raises:
        ValueError: the file holds something else.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    read_state(weights)  # torchmetrics would run whatever a pickle says; this refuses all but tensors
    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False)
    except RuntimeError as error:  # keys or shapes differ
        raise ValueError(f"{weights} does not hold the Inception weights of torch-fidelity") from error
    network = network.to(device).requires_grad_(False)

    def features(image: Tensor) -> np.ndarray:
        whole = image.clamp(0, 1).mul(255).round().to(torch.uint8)
        return network(whole[None].to(device))[0].float().cpu().numpy()

    return features


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of features (N, D) and (M, D): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))."""
    means = [features.mean(0, dtype=np.float64) for features in (first, second)]
    # C = A'A with A the centred features over (N - 1)^(1/2); R of A = QR serves as well and is never larger
    roots = [
        np.asarray(np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r"))
        for features, mean in zip((first, second), means, strict=True)
    ]
    # the eigenvalues of C1 C2 = A1'A1 A2'A2 are the squared singular values of A1 A2'
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(float((root**2).sum()) for root in roots) - 2 * cross
    return float(((means[0] - means[1]) ** 2).sum() + spread)


def kid(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> float:
    """Kernel distance (Binkowski et al. 2018): unbiased squared MMD, kernel (x'y / D + 1)^3.

    Of all features when there are at most 1000 in each set, else the mean over 100 random subsets of 1000.
    """
    if max(len(first), len(second)) <= KID_SUBSET:
        return _squared_mmd(first, second)
    rng = np.random.default_rng(seed)
    size = min(len(first), len(second), KID_SUBSET)
    values = [
        _squared_mmd(*(f[rng.choice(len(f), size, replace=False)] for f in (first, second)))
        for _ in range(KID_SUBSETS)
    ]
    return float(np.mean(values))


def _squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    x, y = first.astype(np.float64), second.astype(np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        """Mean over pairs of different images; the images with themselves would bias it."""
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())
