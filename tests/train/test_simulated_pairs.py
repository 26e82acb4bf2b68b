"""What simulated training pairs teach about sigma."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gendeg_core.types import Degradation
from train.common import pairs
from train.common.photos import list_photos


@pytest.mark.parametrize("degradation", [Degradation.HAZE, Degradation.LOW_LIGHT])
def test_where_all_of_a_photo_changes_sigma_follows_the_drawn_one(
    photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, degradation: Degradation
) -> None:
    source = pairs.SimulatedPairs(list_photos(*photos), 48, uniform=0)
    kind = list(Degradation).index(degradation)

    def mean_sigma(drawn: float) -> float:
        monkeypatch.setattr(pairs, "draw_intensity", lambda *_: SimpleNamespace(mu=0.12, sigma=drawn))
        return float(np.mean([source.pair(0, kind + 6 * k)["sigma"] for k in range(10)]))

    assert mean_sigma(0.2) > mean_sigma(0.02) + 0.02
