"""Formulas of the simulators against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gendeg_core.scatter.fields import fractal, gaussian_blur, read_field, reflect_pad
from gendeg_core.scatter.particles import Lines, splat_points, thickness_of_lines
from gendeg_core.seeds import torch_generator
from gendeg_core.simulate.colour import to_linear, to_srgb
from gendeg_core.simulate.convolution import Convolver, fast_size
from gendeg_core.simulate.haze import scatter
from gendeg_core.simulate.low_light import grain
from gendeg_core.simulate.strength import finish, solve_strength


def test_haze_follows_koschmieder():
    # J = 0.2, A = 0.9, beta d = ln 2, so t = 1/2 and I = 0.2 / 2 + 0.9 / 2 = 0.55.
    clean = torch.full((3, 2, 2), 0.2)
    hazy = scatter(clean, torch.full((2, 2), math.log(2)), torch.full((3, 1, 1), 0.9))
    torch.testing.assert_close(hazy, torch.full((3, 2, 2), 0.55))


def test_blur_with_three_points_averages_three_neighbours():
    image = torch.tensor([0.0, 0.3, 0.9, 0.6, 0.0]).expand(3, 4, 5).contiguous()
    blur = Convolver(image, reach=1)
    blurred = blur(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]), torch.full((3,), 1 / 3))
    # Inner: (0 + .3 + .9) / 3 and so on; the border mirrors: (0 + 0 + .3) / 3 and (.6 + 0 + 0) / 3.
    expected = torch.tensor([0.1, 0.4, 0.6, 0.5, 0.2]).expand(3, 4, 5)
    torch.testing.assert_close(blurred, expected)


def test_blur_moves_the_image_towards_the_kernel_point():
    image = torch.zeros(1, 5, 5)
    image[0, 2, 2] = 1
    moved = Convolver(image, reach=1)(torch.tensor([1.0]), torch.tensor([0.5]), torch.ones(1))
    expected = torch.zeros(1, 5, 5)
    expected[0, 3, 2] = expected[0, 3, 3] = 0.5  # one down, half a pixel right
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("minimum", "size"), [(1, 1), (7, 8), (11, 12), (121, 125), (128, 128)])
def test_fast_sizes_have_no_large_prime_factor(minimum, size):
    assert fast_size(minimum) == size


def test_srgb_round_trip_and_known_values():
    values = torch.linspace(0, 1, 101)
    torch.testing.assert_close(to_srgb(to_linear(values)), values, atol=1e-5, rtol=0)
    torch.testing.assert_close(to_linear(torch.tensor([0.5])), torch.tensor([0.21404]), atol=1e-5, rtol=0)


def test_splatted_points_keep_their_weight_and_place():
    canvas = splat_points(
        torch.tensor([1.5, 0.75]),
        torch.tensor([2.5, 1.0]),
        torch.tensor([2.0, 1.0]),
        torch.tensor([0, 1]),
        2,
        3,
        4,
    )
    assert canvas[0, 1, 2] == 2  # a pixel's centre is at one half
    torch.testing.assert_close(canvas[1, :2, :2], torch.tensor([[0.375, 0.375], [0.125, 0.125]]))


def test_a_streak_has_its_opacity_in_the_middle():
    lines = Lines(
        y=torch.tensor([0.5]),
        x=torch.tensor([0.5]),
        along_y=torch.tensor([0.5]),
        along_x=torch.tensor([0.0]),
        opacity=torch.tensor([0.6]),
        width=0.02,
    )
    opacity = 1 - torch.exp(-thickness_of_lines(lines, 200, 200).sum(0))
    assert opacity.max() == pytest.approx(0.6, abs=0.02)
    assert opacity[100, 100] == pytest.approx(0.6, abs=0.03)
    assert opacity[20, 100] < 1e-3
    assert opacity[100, 130] < 1e-3


def test_gaussian_blur_keeps_the_mean_and_has_the_asked_width():
    image = torch.zeros(1, 61, 61)
    image[0, 30, 30] = 1
    for sigma in (0.7, 3.0, 8.0):
        blurred = gaussian_blur(image, sigma)[0]
        offset = torch.arange(61) - 30.0
        assert blurred.sum() == pytest.approx(1, abs=0.08)  # a reduced copy may miss part of a single dot
        variance = (blurred.sum(0) * offset**2).sum() / blurred.sum()
        assert variance.sqrt() == pytest.approx(sigma, rel=0.15)


def test_mirror_padding_may_exceed_the_image():
    padded = reflect_pad(torch.tensor([[[1.0, 2.0]]]), (1, 0), (3, 2))
    expected = torch.tensor([2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0])
    torch.testing.assert_close(padded, expected.expand(1, 2, 7))


def test_fractal_fields_are_spread_and_repeat_after_two_short_sides():
    field = fractal(torch_generator(0), 2.5)
    assert field.min() >= 0
    assert field.max() <= 1
    assert 0.2 < field.std() < 0.35  # an even spread has 0.289
    wide = read_field(field, 32, 96)
    torch.testing.assert_close(wide[:, :32], wide[:, 64:])


@pytest.mark.parametrize("size", [64, 256, 400])
def test_grain_has_unit_variance_at_every_size(size):
    noise = grain(torch_generator(1), size, size)
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.02)


def test_solving_a_straight_line_takes_two_renders():
    clean = torch.zeros(3, 4, 4)
    calls = []

    def render(strength):
        calls.append(strength)
        return clean + 0.8 * strength

    assert solve_strength(render, clean, 0.2) == pytest.approx(0.25, abs=2e-3)
    assert len(calls) <= 2


def test_solving_curves_and_impossible_requests():
    clean = torch.zeros(3, 4, 4)
    for power in (0.3, 3.0):
        render = finish(clean, lambda strength, power=power: clean + 0.5 * strength**power)
        strength = solve_strength(render, clean, 0.1)
        assert 0.5 * strength**power == pytest.approx(0.1, abs=1.1e-3)
        assert solve_strength(render, clean, 0.6) == 1
        assert solve_strength(render, clean, 0.0) == 0
