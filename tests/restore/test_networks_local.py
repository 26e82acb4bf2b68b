"""Local pooling (TLC) against the official numbers, and where it must not matter."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.restore.local_pooling import LocalAttention, local_inference, window_means
from gendeg_core.restore.nafnet import NAFNet
from tests import golden

CASES = {
    "local": ("image_big", (32, 32)),
    "local_one_side": ("image_wide", (32, 32)),  # the window covers the height only
    "local_small": ("image", (32, 32)),
    "local_odd_train_size": ("image_big", (37, 50)),  # the crop is padded, and the window with it
}


@pytest.fixture(scope="module")
def official():
    net = NAFNet(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)).eval()
    net.load_state_dict(golden.official_state("nafnet"))
    return net


@torch.no_grad()
@pytest.mark.parametrize("out", CASES)
def test_official_numbers(official, out):
    name, train_size = CASES[out]
    numbers = golden.load("nafnet")
    image, expected = numbers[f"in/{name}"], numbers[f"out/{out}"]
    golden.assert_close(local_inference(official, train_size)(image), expected, 1e-5)
    assert (official(image) - expected).abs().max() > 0.1  # pooling globally is something else


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(24, 36), (48, 48), (48, 17)])
def test_up_to_one_and_a_half_crops_nothing_changes(official, height, width):
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        local_inference(official, (32, 32))(image), official(image), atol=1e-5, rtol=1e-5
    )


def test_weights_are_shared_and_keep_their_keys(official):
    local = local_inference(official, (32, 32))
    assert local.state_dict().keys() == official.state_dict().keys()
    mine, theirs = dict(local.named_parameters()), dict(official.named_parameters())
    assert all(mine[name] is theirs[name] for name in theirs)
    assert not any(isinstance(module, LocalAttention) for module in official.modules())
    assert sum(isinstance(module, LocalAttention) for module in local.modules()) == 5


@torch.no_grad()
def test_what_is_far_away_does_not_matter(official):
    """A change more than a window away from a pixel leaves it alone; with global pooling it does not."""
    local = local_inference(official, (16, 16))
    image = torch.rand(1, 3, 40, 200, generator=torch.Generator().manual_seed(2))
    changed = image.clone()
    changed[..., 180:] = 0
    near = (..., slice(0, 40))
    assert torch.equal(local(changed)[near], local(image)[near]) or (
        (local(changed)[near] - local(image)[near]).abs().max() < 1e-5
    )
    assert (official(changed)[near] - official(image)[near]).abs().max() > 1e-3


def test_window_means_by_hand():
    x = torch.tensor([[1.0, 2.0, 6.0, 3.0]])
    assert window_means(x, 3, dim=1).tolist() == [[3.0, pytest.approx(11 / 3)]]
    assert window_means(x, 4, dim=1).tolist() == [[3.0]]
    assert window_means(x, 1, dim=1).tolist() == x.tolist()


@torch.no_grad()
def test_sums_in_half_precision_stay_in_range():
    attention = LocalAttention(torch.nn.Identity(), (60, 60))
    weights = attention(torch.full((1, 1, 100, 100), 200.0, dtype=torch.float16))
    assert weights.dtype == torch.float16
    assert torch.equal(weights, torch.full_like(weights, 200.0))
