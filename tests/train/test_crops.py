"""Crops of pairs, turns over degradations, and simulators that keep to chosen families."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from gendeg_core.dataset.readers import pairs_in
from gendeg_core.types import Degradation
from tests.train.drawn import NoisePairs
from tests.train.test_data import write_pairs
from train.common import pairs
from train.common.crops import CroppedPairs
from train.common.pairs import Pair, PairSource, SimulatedPairs, StoredPairs
from train.common.photos import list_photos


class Ramp(PairSource):
    """One pair whose pixels are all different; the degraded image is the negative."""

    def pair(self, seed: int, k: int) -> Pair:
        clean = torch.arange(75, dtype=torch.uint8).reshape(3, 5, 5)
        return Pair(clean=clean, degraded=255 - clean, degradation=0, mu=0.0, sigma=0.0, caption="")


@pytest.mark.parametrize(("moves", "seen"), [("none", 1), ("mirror", 2), ("turns", 8), ("always", 7)])
def test_each_way_of_moving_gives_its_symmetries(moves, seen: int) -> None:
    cropped = [CroppedPairs(Ramp(), 5, moves).pair(0, k) for k in range(100)]
    pictures = {tuple(pair["clean"].flatten().tolist()) for pair in cropped}
    assert len(pictures) == seen
    assert (tuple(range(75)) in pictures) == (moves != "always")
    assert all(torch.equal(pair["degraded"], 255 - pair["clean"]) for pair in cropped)


def test_crops_reach_every_corner_and_follow_from_seed_and_number() -> None:
    source = CroppedPairs(NoisePairs(6), 4, "none")
    whole, crop, again = NoisePairs(6).pair(3, 4), source.pair(3, 4), source.pair(3, 4)
    places = [
        (y, x) for y in range(3) for x in range(3)
        if torch.equal(whole["clean"][:, y : y + 4, x : x + 4], crop["clean"])
    ]  # fmt: skip
    assert len(places) == 1
    assert torch.equal(crop["clean"], again["clean"])
    ramps = CroppedPairs(Ramp(), 4, "none")
    corners = Counter(int(ramps.pair(0, k)["clean"][0, 0, 0]) for k in range(100))
    assert set(corners) == {0, 1, 5, 6}


def test_stored_pairs_take_turns_over_degradations_and_over_pairs(tmp_path: Path) -> None:
    for name, count in (("rain", 7), ("snow", 2)):
        write_pairs(tmp_path / name, [(40, 40)] * count)
    source = StoredPairs(pairs_in(tmp_path), 32, balanced=True)
    kinds = [source.pair(0, k)["degradation"] for k in range(28)]
    assert Counter(kinds) == {list(Degradation).index(Degradation(n)): 14 for n in ("rain", "snow")}
    numbers = Counter(source._turn(0, k) for k in range(28))
    assert sorted(numbers.values()) == [2] * 7 + [7] * 2  # all of each degradation before one comes again
    assert [source._turn(0, k) for k in range(28)] != [source._turn(1, k) for k in range(28)]


def test_simulated_pairs_keep_to_chosen_families(
    photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[Degradation, set[str]] = {}
    for name in ("simulate", "random_pair"):
        original = getattr(pairs, name)

        def spy(*args, original=original, **options):
            made = original(*args, **options)
            kind = args[1] if isinstance(args[1], Degradation) else args[1].degradation
            seen.setdefault(kind, set()).add(made.family)
            return made

        monkeypatch.setattr(pairs, name, spy)
    chosen = {Degradation.HAZE: ("patchy",), Degradation.RAIN: ("drizzle", "downpour")}
    source = SimulatedPairs(list_photos(*photos), 32, families=chosen)
    for k in np.arange(10):
        source.pair(0, int(6 * k))
        source.pair(0, int(6 * k + 1))
        source.pair(0, int(6 * k + 2))
    assert seen[Degradation.HAZE] == {"patchy"}
    assert seen[Degradation.RAIN] == {"drizzle", "downpour"}
    assert len(seen[Degradation.SNOW]) == 3
