"""Numbers computed by the official code, to compare ours with; see README.md beside this file."""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).parent


def load(name: str) -> dict[str, Tensor]:
    """All stored arrays: `in/...`, `out/...`, `check/...`."""
    return load_file(HERE / f"{name}.safetensors")


@functools.cache
def official_state(name: str) -> dict[str, Tensor]:
    """The weights behind the outputs, under their official keys; do not change the tensors in place."""
    with safe_open(HERE / f"{name}.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    return {key: _draw(key, **entry) for key, entry in recipe.items()}


def assert_close(ours: Tensor, official: Tensor, tolerance: float) -> None:
    """Largest difference relative to the largest official value."""
    assert ours.shape == official.shape
    difference = ((ours - official).abs().max() / official.abs().max()).item()
    assert difference <= tolerance, (
        f"differs by {difference:.2e} of the largest value, {tolerance:.0e} allowed"
    )


def _draw(key: str, shape: list[int], mean: float, std: float) -> Tensor:
    generator = np.random.RandomState(zlib.crc32(key.encode()))  # noqa: NPY002 - its stream never changes
    values = mean + std * generator.standard_normal(tuple(shape))
    return torch.from_numpy(np.asarray(values, np.float32).reshape(shape))
