"""Blurs along told lines, against kernels worked by hand, and a denoiser that mixes them."""

from __future__ import annotations

import math

import pytest
import torch

from gendeg_core.generate.line_blur import line_blurs
from gendeg_core.generate.unet import ConditionedUNet
from tests.generate.tiny import stir


def told(degrees: float, size: int, length: float = 1.0) -> torch.Tensor:
    twice = math.radians(2 * degrees)
    maps = torch.tensor([1.0, length * math.sin(twice), length * math.cos(twice)])
    return maps[None, :, None, None].expand(1, 3, size, size)


def dot(size: int) -> torch.Tensor:
    photo = torch.zeros(1, 1, size, size)
    photo[..., size // 2, size // 2] = 1
    return photo


@pytest.mark.parametrize("length", [1.0, 0.01])
def test_a_dot_becomes_a_line_twice_as_long_each_time(length):
    blurs = line_blurs(dot(33), told(0, 33, length), 3)[0, :, 0]
    for blur, kernel in zip(
        blurs,
        ([1 / 4, 1 / 2, 1 / 4], [1 / 8, *[1 / 4] * 3, 1 / 8], [1 / 16, *[1 / 8] * 7, 1 / 16]),
        strict=True,
    ):
        expected = torch.zeros(33, 33)
        reach = len(kernel) // 2
        expected[16, 16 - reach : 17 + reach] = torch.tensor(kernel)
        assert torch.allclose(blur, expected, atol=1e-4)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, -60])
def test_the_line_has_the_told_direction(degrees):
    blur = line_blurs(dot(65), told(degrees, 65), 5)[0, -1, 0]
    y, x = torch.meshgrid(*[torch.arange(65.0) - 32] * 2, indexing="ij")
    assert blur.sum().item() == pytest.approx(1, abs=0.05)
    along = math.cos(math.radians(degrees)) * x + math.sin(math.radians(degrees)) * y
    across = math.cos(math.radians(degrees)) * y - math.sin(math.radians(degrees)) * x
    assert (blur * along**2).sum().item() == pytest.approx((32**2 - 1) / 12, rel=0.1)  # of 32 points in a row
    assert (blur * across**2).sum() < 2


def test_an_even_photo_stays_as_it_is():
    blurs = line_blurs(torch.full((2, 3, 20, 28), 0.3), torch.randn(2, 3, 20, 28), 6)
    assert torch.allclose(blurs, torch.full((2, 6, 3, 20, 28), 0.3))


def test_a_denoiser_mixes_blurs_by_the_shares_it_finds():
    torch.manual_seed(0)
    options = {
        "in_channels": 36,
        "out_channels": 12,
        "block_out_channels": (16, 32),
        "layers_per_block": (1, 1),
    }
    denoiser = ConditionedUNet(**options, cross_attention_dim=8, context_tokens=5, mixed_line_blurs=3)
    with torch.no_grad():
        stir(denoiser, 0.05)
    photo, layout = torch.rand(1, 3, 16, 16), told(20, 16)
    clean, folded = (torch.nn.functional.pixel_unshuffle(part, 2) for part in (photo, layout))
    inputs = torch.cat([torch.randn(1, 12, 8, 8), clean, folded], 1)
    context = torch.randn(1, 5, 8)
    shares = torch.zeros(1, 3, 8, 8)

    def answer() -> torch.Tensor:
        with torch.no_grad():
            return denoiser.signal(inputs, torch.tensor([0.5]), context)

    denoiser.line_mixture.weight.data.zero_()
    denoiser.line_mixture.bias.data.zero_()
    without = answer()
    denoiser.line_mixture.bias.data[1] = 0.75
    shares[:, 1] = 0.75
    change = torch.nn.functional.pixel_shuffle(answer() - without, 2)
    expected = 0.75 * (line_blurs(photo, layout, 3)[:, 1] - photo)
    assert torch.allclose(change, expected, atol=1e-5)
    assert torch.allclose(denoiser.blurred(clean, folded, shares), answer() - without, atol=1e-5)
