"""The two networks that are timed against each other do the same, and ours is not the slower one."""

from __future__ import annotations

import time

import pytest
import torch

from tests.benchmarks.cases import nafnets, network_cases
from tests.benchmarks.plain_nafnet import PlainNAFNet

CPU = torch.device("cpu")


@torch.inference_mode()
def test_both_give_the_same_image():
    plain, ours = nafnets("GoPro-width32", CPU, torch.float32)
    assert isinstance(plain, PlainNAFNet)
    image = torch.rand(1, 3, 75, 91, generator=torch.Generator().manual_seed(1))
    expected = plain(image)
    assert (expected - image).abs().max() > 0.1
    assert ((ours(image) - expected).abs().max() / expected.abs().max()).item() < 1e-5


def test_each_group_starts_with_the_plain_network():
    cases = list(network_cases())
    assert [case.name for case in cases] == ["plain", "ours"] * (len(cases) // 2)
    assert len({case.group for case in cases}) == len(cases) // 2


@pytest.mark.slow
@torch.inference_mode()
def test_ours_takes_no_more_processor_time():
    """Turn about on one thread, in processor time: other programs on the machine hardly change the ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        image = torch.rand(1, 3, 256, 256)
        nets = nafnets("GoPro-width32", CPU, torch.float32)
        seconds = ([], [])
        for turn in range(6):
            for net, times in zip(nets, seconds, strict=True):
                start = time.process_time()
                net(image)
                if turn:  # the first is a warm-up
                    times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    plain, ours = (sorted(times)[2] for times in seconds)
    assert plain / ours >= 1.0, f"plain {plain:.3f} s, ours {ours:.3f} s"
