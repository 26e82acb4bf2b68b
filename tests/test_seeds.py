"""Seeds follow from (run seed, item id) alone, on every machine and in every process."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gendeg_core.seeds import sample_seed, torch_generator


def test_seeds_never_change_between_releases():
    # First eight bytes of blake2b of the text "7/photo.png", as a number, halved.
    assert sample_seed(7, "photo.png") == 6533189873613088880
    assert sample_seed(0, 0) == 1576848291327681832


@given(st.integers(), st.one_of(st.integers(), st.text()))
def test_seeds_fit_a_request_and_a_generator(run_seed: int, item_id: int | str):
    seed = sample_seed(run_seed, item_id)
    assert 0 <= seed < 2**63
    assert seed == sample_seed(run_seed, item_id)
    assert torch_generator(seed).initial_seed() == seed


def test_neighbouring_items_and_runs_differ():
    seeds = {sample_seed(run, item) for run in range(40) for item in range(250)}
    assert len(seeds) == 10_000
    # The two parts are told apart: run 1, item "2" is not run 12, item "".
    assert sample_seed(1, "23") != sample_seed(12, "3")


def test_seeds_spread_over_the_whole_range():
    drawn = [sample_seed(3, item) / 2**63 for item in range(4000)]
    counts = torch.histc(torch.tensor(drawn, dtype=torch.float64), bins=16, min=0, max=1)
    assert (counts - 250).abs().max() < 70  # 4.6 standard deviations


def test_a_generator_repeats_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    first = torch.rand(5, generator=torch_generator(11))
    assert torch.equal(first, torch.rand(5, generator=torch_generator(11)))
    assert not torch.equal(first, torch.rand(5, generator=torch_generator(12)))
    assert torch.equal(before, torch.get_rng_state())
    assert torch_generator(11).device.type == "cpu"
