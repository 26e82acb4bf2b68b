"""A feature space that needs no downloaded network: natural scene statistics, and a Frechet distance in it.

Mean-subtracted contrast-normalised (MSCN) coefficients and their neighbour products respond to haze, blur,
noise and streaks (Mittal et al. 2012, "No-Reference Image Quality Assessment in the Spatial Domain"); colour
and contrast moments are added because haze and low light live there. Small sets are compared, so the
covariance is shrunk.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_SHRINKAGE = 0.1


def scene_statistics(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to 38 numbers: MSCN moments at two scales, then colour and dark-channel moments."""
    luma = (image * image.new_tensor(_LUMA)[:, None, None]).sum(0)
    half = F.avg_pool2d(luma[None, None], 2, ceil_mode=True)[0, 0]
    dark = image.min(0).values
    saturation = image.max(0).values - dark
    colour = [m for plane in (luma, dark, saturation) for m in (plane.mean(), plane.std(correction=0))]
    moments = [*_mscn_moments(luma), *_mscn_moments(half), *colour]
    return torch.stack(moments).double().numpy()


def _mscn_moments(luma: Tensor) -> list[Tensor]:
    """Sixteen moments: spread, tails and skew of the coefficients and of products with four neighbours."""
    mean = _blur(luma)
    deviation = (_blur(luma**2) - mean**2).clamp(min=0).sqrt()
    mscn = (luma - mean) / (deviation + 1 / 255)
    products = [mscn * torch.roll(mscn, shift, (0, 1)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1))]
    result = [mscn.std(correction=0), mscn.abs().mean(), deviation.mean(), deviation.std(correction=0)]
    for product in products:
        result += [product.mean(), product.std(correction=0), product.abs().mean()]
    return result


def _blur(plane: Tensor) -> Tensor:
    """Gaussian window of 7 pixels, standard deviation 7/6, border repeated."""
    x = torch.arange(-3.0, 4.0)
    weight = torch.exp(-(x**2) / (2 * (7 / 6) ** 2))
    weight = (weight / weight.sum()).to(plane)
    padded = F.pad(plane[None, None], (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, weight[None, None, None])
    return F.conv2d(rows, weight[None, None, :, None])[0, 0]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of features (N, D) and (M, D), each feature scaled by its spread in `second`.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), covariances shrunk by 10 % towards their diagonal.
    """
    scale = second.std(0) + 1e-9
    means, covariances = [], []
    for features in (first / scale, second / scale):
        covariance = np.cov(features, rowvar=False, bias=True)
        covariances.append((1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(np.diag(covariance)))
        means.append(features.mean(0))
    # the eigenvalues of C1 C2 are real and non-negative: it is similar to a product of symmetric roots
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(min=0)
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(eigenvalues).sum()
    return float(((means[0] - means[1]) ** 2).sum() + spread)
