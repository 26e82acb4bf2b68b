"""Structure correction against the official numbers, at any size, with the published layout."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.generate.structure import StructureCorrection
from tests import golden

SMALL = {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}


@pytest.fixture(scope="module")
def numbers():
    return golden.load("structure")


@pytest.fixture(scope="module")
def official():
    network = StructureCorrection(**SMALL).eval()
    network.load_state_dict(golden.official_state("structure"))
    return network


def random_images(*shape):
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_odd_size_gives_the_official_image(numbers, official):
    golden.assert_close(official(numbers["in/clean"], numbers["in/generated"]), numbers["out/image"], 1e-5)


@torch.no_grad()
def test_the_two_images_are_not_interchangeable(numbers, official):
    swapped = official(numbers["in/generated"], numbers["in/clean"])
    assert (swapped - numbers["out/image"]).abs().max() > 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 17), (16, 16), (31, 20)])
def test_any_size_comes_back_and_gradients_flow(official, height, width):
    clean, generated = random_images(1, 3, height, width)
    generated.requires_grad_()
    corrected = official(clean, generated)
    assert corrected.shape == clean.shape
    corrected.sum().backward()
    assert generated.grad.abs().sum() > 0


@torch.no_grad()
def test_is_a_correction_of_the_generated_image():
    network = StructureCorrection(**SMALL)
    network.ending.weight.zero_()
    network.ending.bias.zero_()
    clean, generated = random_images(2, 3, 9, 12)
    assert torch.equal(network(clean, 3 * generated), 3 * generated)  # and nothing is clamped


@torch.no_grad()
def test_one_image_of_a_batch_does_not_touch_another(official):
    clean, generated = random_images(2, 3, 12, 20)
    together = official(clean, generated)
    alone = torch.cat([official(clean[i : i + 1], generated[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_published_size_and_layout():
    with torch.device("meta"):
        network = StructureCorrection()
    assert sum(p.numel() for p in network.parameters()) == 115_984_643
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert len(shapes) == 664
    expected = {
        "intro.weight": (64, 6, 3, 3),
        "ending.weight": (3, 64, 3, 3),
        "encoders.0.1.conv2.weight": (128, 1, 3, 3),
        "encoders.3.7.sca.1.weight": (512, 512, 1, 1),
        "downs.0.weight": (128, 64, 2, 2),
        "middle_blks.11.beta": (1, 1024, 1, 1),
        "ups.0.0.weight": (2048, 1024, 1, 1),
        "decoders.0.0.conv4.weight": (1024, 512, 1, 1),
    }
    assert {key: shapes[key] for key in expected} == expected


def test_reloads_with_its_configuration(tmp_path, official, numbers):
    official.save_pretrained(tmp_path)
    again = StructureCorrection.from_pretrained(tmp_path)
    with torch.no_grad():
        golden.assert_close(again(numbers["in/clean"], numbers["in/generated"]), numbers["out/image"], 1e-5)


def test_images_of_two_sizes_are_refused(official):
    with pytest.raises(ValueError, match="must be of one size"):
        official(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))


def test_uneven_levels_are_refused():
    with pytest.raises(ValueError, match="one number per level"):
        StructureCorrection(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1,))
