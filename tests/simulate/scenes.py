"""Photos and drawings for the simulator tests."""

from __future__ import annotations

import functools

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from gendeg_core.scatter.fields import resize


@functools.cache
def photo(size: int, name: str = "china.jpg") -> Tensor:
    """(3, size, size) the middle square of a photo that comes with scikit-learn."""
    image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float() / 255
    left = (image.shape[2] - image.shape[1]) // 2
    return resize(image[:, :, left : left + image.shape[1]].contiguous(), size, size).clamp(0, 1)
