"""The fixed statistics of texture: what each of them answers to, worked out by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gendeg_core.embed.loading import EmbedderConfig, Preprocessing, load_embedder, save_embedder
from gendeg_core.embed.models import build, model_config
from gendeg_core.embed.texture import (
    OCTAVES,
    ORIENTATIONS,
    SHIFTS,
    TINY,
    TextureStem,
    oriented_filters,
    texture,
)

PATCH, SIDE = 32, 128
COLOUR = 14  # statistics of colour come first, then those of gradients, grain, and the bands of each octave
GRAIN = 10
BANDS = 6 * ORIENTATIONS
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def statistics(image: Tensor) -> Tensor:
    """(C, 4, 4) of an image (3, 128, 128)."""
    return texture(image[None], PATCH, oriented_filters())[0]


def gradients(found: Tensor, axis: int) -> dict[tuple[int, int], Tensor]:
    """Autocorrelation (4, 4) of the gradient along `axis` by shift."""
    first = COLOUR + (0 if axis == -1 else len(SHIFTS))
    return {shift: found[first + k] for k, shift in enumerate(SHIFTS)}


def bands(found: Tensor, octave: int) -> dict[str, Tensor]:
    """Statistics of the bands of an octave by name; two per orientation for energy and sparsity, else one."""
    first = COLOUR + 2 * len(SHIFTS) + GRAIN + octave * BANDS
    sizes = {"energy": 2, "sparsity": 2, "asymmetry": 1, "peakedness": 1}
    parts = found[first : first + BANDS].split([n * ORIENTATIONS for n in sizes.values()])
    return dict(zip(sizes, parts, strict=True))


def noise(seed: int = 0) -> Tensor:
    return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def stripes(period: int) -> Tensor:
    """Grey vertical stripes."""
    wave = 0.5 + 0.3 * torch.sin(2 * math.pi * torch.arange(SIDE) / period)
    return wave.expand(3, SIDE, SIDE).clone()


def test_filters_see_nothing_on_a_plane_and_are_of_one_strength() -> None:
    bank = oriented_filters()
    assert bank.shape == (2 * ORIENTATIONS, 1, 9, 9)
    torch.testing.assert_close(bank.sum((1, 2, 3)), torch.zeros(len(bank)), atol=1e-6, rtol=0)
    torch.testing.assert_close(bank.abs().sum((1, 2, 3)), torch.ones(len(bank)))
    torch.testing.assert_close(bank[::2].flip(2, 3), -bank[::2])  # odd
    torch.testing.assert_close(bank[1::2].flip(2, 3), bank[1::2])  # even


def test_a_flat_image_has_its_colour_and_nothing_else() -> None:
    image = torch.tensor([0.2, 0.6, 0.4])[:, None, None].expand(3, SIDE, SIDE)
    found = statistics(image)
    assert found.shape == (COLOUR + 2 * len(SHIFTS) + GRAIN + OCTAVES * BANDS, 4, 4)
    luminance = math.log(0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 0.4 + 0.01)
    colour = [0.2, 0.6, 0.4, *[math.log(1e-4)] * 3, 0.2, 0.2, 0.2, 0.2, 0.6, 0.6, 0.4, luminance]
    expected = torch.tensor(colour)[:, None, None].expand(COLOUR, 4, 4)
    torch.testing.assert_close(found[:COLOUR], expected, atol=6e-2, rtol=0)
    for axis in (-1, -2):
        assert all(value.abs().max() < 1e-5 for value in gradients(found, axis).values())
    for octave in range(OCTAVES):
        assert (bands(found, octave)["energy"] - math.log(TINY)).abs().max() < 1e-2


def test_stripes_excite_the_filters_across_them_in_the_octave_of_their_width() -> None:
    middle = {
        octave: bands(statistics(stripes(8)), octave)["energy"][:, 1:3, 1:3].mean((1, 2))
        for octave in range(OCTAVES)
    }
    for octave in (0, 1):
        assert int(middle[octave][1::2].argmax()) == 0
        assert middle[octave][1] - middle[octave][1 + ORIENTATIONS] > 5  # log; the latter looks along them
    assert middle[3].max() < middle[0].max() - 2


def test_bright_specks_and_dark_ones_differ_in_asymmetry_alone() -> None:
    image = torch.full((3, SIDE, SIDE), 0.5)
    for down, across in itertools.product((6, 7), repeat=2):
        image[:, down::16, across::16] += 0.4
    bright, dark = bands(statistics(image), 0), bands(statistics(1 - image), 0)
    assert bright["asymmetry"].max() < dark["asymmetry"].min()  # filters are negative in their middle
    torch.testing.assert_close(
        bright["asymmetry"] + dark["asymmetry"], torch.ones_like(dark["asymmetry"]), atol=1e-2, rtol=0
    )
    for name in ("energy", "sparsity", "peakedness"):
        torch.testing.assert_close(bright[name], dark[name], atol=1e-3, rtol=1e-3)
    even = bands(statistics(noise()), 0)
    assert bright["peakedness"].min() > even["peakedness"].max()
    assert bright["sparsity"].max() < even["sparsity"].min()


def test_motion_stretches_the_autocorrelation_of_gradients_along_its_way() -> None:
    sharp = noise()
    blurred = torch.stack([sharp.roll(k, -1) for k in range(9)]).mean(0)
    still, moved = (gradients(statistics(image), -2) for image in (sharp, blurred))
    inner = (slice(None), slice(1, 3))
    assert (moved[0, 4][inner] > still[0, 4][inner] + 0.3).all()
    assert (moved[4, 0][inner] < still[4, 0][inner] + 0.2).all()
    turned = gradients(statistics(blurred.transpose(1, 2)), -1)
    for down, across in SHIFTS[:8]:
        one, other = moved[down, across].T, turned[across, down]
        torch.testing.assert_close(one[1:3, 1:3], other[1:3, 1:3], atol=1e-4, rtol=1e-3)


def test_grain_tells_coloured_noise_from_grey_noise_of_the_same_strength() -> None:
    grey = noise()[:1].expand(3, SIDE, SIDE)
    first = COLOUR + 2 * len(SHIFTS)
    of_grey, of_coloured = (statistics(image)[first : first + GRAIN] for image in (grey, noise()))
    torch.testing.assert_close(of_grey[0], of_coloured[0])
    assert of_grey[7].max() < of_coloured[7].min() - 1  # how coloured beside how strong, logarithms


def test_a_patch_answers_for_its_surroundings_alone() -> None:
    image = noise()
    changed = image.clone()
    changed[..., 112:] = 0.5
    before, after = statistics(image), statistics(changed)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2], atol=1e-4, rtol=1e-4)
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


@torch.no_grad()
def test_the_stem_sees_the_image_before_it_was_normalised_and_each_alone() -> None:
    stem = TextureStem(16, PATCH, MEAN, STD).eval()
    images = torch.stack([noise(), stripes(8)])
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    tokens = stem((images - mean) / std)
    assert tokens.shape == (2, 16, 4, 4)
    torch.testing.assert_close(tokens[:1], stem((images[:1] - mean) / std))
    normalised = (images - mean) / std
    torch.testing.assert_close(stem(stem.statistics(normalised)), tokens)


@torch.no_grad()
def test_what_is_usual_counts_as_nothing_and_outliers_are_held_back() -> None:
    stem = TextureStem(16, PATCH, MEAN, STD).eval()
    usual = torch.randn(50, stem.channels, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 7
    usual[:, 0] = 5  # a statistic that never differs
    before = stem(usual[:1])
    stem.standardise(usual)
    seen = []
    stem.local.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    after = stem(usual)
    assert (before - after[:1]).abs().max() > 1e-3
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(stem.channels), atol=1e-3, rtol=0)
    assert not seen[0][:, 0].any()
    torch.testing.assert_close(
        seen[0][:, 1:].std((0, 2, 3)), torch.ones(stem.channels - 1), atol=1e-2, rtol=0
    )
    stem(usual * 100)
    assert seen[1].abs().max() == 6


def test_the_stem_learns_from_an_image_without_any_texture() -> None:
    stem = TextureStem(16, PATCH, MEAN, STD).eval()
    stem(torch.zeros(1, 3, SIDE, SIDE)).square().sum().backward()
    for name, parameter in stem.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_statistics_are_not_taken_in_half_precision() -> None:
    stem, image = TextureStem(16, PATCH, MEAN, STD), noise()[None]
    with torch.autocast("cpu", torch.bfloat16):
        rough = stem.statistics(image)
    torch.testing.assert_close(rough, stem.statistics(image))


def test_only_patches_of_whole_octaves_can_be_described() -> None:
    with pytest.raises(ValueError, match="patch_size=16 is no multiple of 32"):
        TextureStem(16, 16, MEAN, STD)


def test_a_small_model_begins_with_texture_and_others_are_told_what_there_is() -> None:
    model = build(model_config("gendeg_small"), frozen=False)
    assert isinstance(model.clip.visual.conv1, TextureStem)
    assert isinstance(model.visual_control.conv1, TextureStem)
    with pytest.raises(ValueError, match="unknown stem 'wavelet'; leave it out or choose"):
        build({**model_config("gendeg_small"), "stem": "wavelet"})


@torch.no_grad()
def test_an_embedder_with_texture_gives_what_its_network_makes_of_the_image(tmp_path: Path) -> None:
    sizes = model_config("gendeg_small")
    model = build(sizes, frozen=False).eval()
    for layer in model.visual_control.transformer.zero_modules:
        torch.nn.init.normal_(layer.weight, std=0.2)
    model.clip.visual.conv1.standardise(torch.randn(2, 244, 8, 8))
    save_embedder(model, EmbedderConfig(sizes, Preprocessing(size=256)), tmp_path)
    embedder = load_embedder(tmp_path, "cpu")
    images = torch.stack([noise(), stripes(8)])
    prepared = torch.stack([embedder.config.preprocessing(image) for image in images])
    expected = embedder.model.encode_image(prepared)
    for found, one in zip(embedder.embed(images), expected, strict=True):
        torch.testing.assert_close(found, one)
