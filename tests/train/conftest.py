"""Photos, and one finished tiny run that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from tests.train.drawn import draw_photos
from train import gendeg


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums are then taken in one order, here and in the processes that tests start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Each run may have its own precision; accelerate keeps the first one of the process."""
    reset_accelerate()
    yield
    reset_accelerate()


def reset_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of photos, caption file."""
    return draw_photos(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def finished(photos: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> gendeg.GenDegConfig:
    """The configuration of an uninterrupted tiny run that has ended."""
    config = replace(
        gendeg.tiny(), photos=photos[0], captions=photos[1], output=tmp_path_factory.mktemp("run") / "gendeg",
        pool=24, steps=24, batch=4, gradient_accumulation=2, log_every=1, save_every=4, sample_every=100,
        caption_dropout=0.3, clip=1.0, warmup=20, learning_rate=2e-3,
    )  # fmt: skip
    reset_accelerate()
    gendeg.main(config)
    return config
