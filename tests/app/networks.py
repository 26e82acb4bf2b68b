"""Restoration networks for tests: tiny random ones in a folder of weights, and one whose timing is known."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from app import restorers
from gendeg_core.restore import loading
from gendeg_core.restore.zoo import build

SHIPPED = (("nafnet", "existing"), ("nafnet", "gends"), ("promptir", "gends"), ("swin", "gends"))


@contextmanager
def shipped(folder: Path, networks: tuple[tuple[str, str], ...] = SHIPPED) -> Iterator[Path]:
    """A folder of weights that holds `networks`, tiny and random, while the context is open."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (model, training) in enumerate(networks):
        _write(folder / f"{model}_{training}", model, training, seed)
    with mock.patch.object(loading, "WEIGHTS", folder), mock.patch.dict(restorers._loaded, clear=True):
        yield folder


def _write(folder: Path, model: str, training: str, seed: int) -> None:
    torch.manual_seed(seed)
    net = build(model, "tiny")
    for parameter in net.parameters():  # published networks start as the identity; these shall do something
        parameter.data += 0.02 * torch.randn_like(parameter)
    net.save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    label = {
        "model": model, "training": training, "parameters": parameters, "steps": 12, "samples": 96,
        "data": "drawn scenes", "weak": "Random weights, good for nothing.",
    }  # fmt: skip
    (folder / "label.json").write_text(json.dumps(label))


class SlowNet(nn.Module):
    """Adds 0.1 after a pause; counts its calls."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.1))
        self.pause, self.calls = pause, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(self.pause)
        return images + self.shift
