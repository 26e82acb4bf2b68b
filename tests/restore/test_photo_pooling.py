"""Networks that judge by the whole photo: the same picture in tiles, and a veil judged at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendeg_core.restore import zoo
from gendeg_core.restore.infer import restore
from gendeg_core.restore.loading import load_restorer
from gendeg_core.restore.local_pooling import local_inference
from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.photo_pooling import PhotoPooling
from gendeg_core.restore.promptir import PromptIR
from gendeg_core.restore.promptir_blocks import PromptBlock, TransposedAttention
from tests.restore.tiny import randomised, restorer

SIDE = 64


@pytest.fixture(scope="module")
def net() -> NAFNet:
    """Two levels: no pixel sees further than its tile's margin, but for the attention."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return randomised(NAFNet(8, (1, 1), 1, (1, 1)), spread=0.6).eval()


@pytest.fixture(scope="module")
def promptir() -> PromptIR:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = zoo.CONFIGS["promptir"]["tiny"]
        return randomised(cast("PromptIR", zoo.build_from("promptir", config)), spread=0.3).eval()


@pytest.fixture(scope="module", params=["net", "promptir"])
def either(request: pytest.FixtureRequest) -> NAFNet | PromptIR:
    return request.getfixturevalue(request.param)


def picture(height: int, width: int) -> Tensor:
    """(3, H, W), dark at the left and bright at the right."""
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))
    return noise * torch.linspace(0.1, 1, width)


@torch.no_grad()
@pytest.mark.parametrize("size", [(SIDE, 200), (40, 41)])
def test_small_images_come_out_as_from_the_network_itself(
    either: NAFNet | PromptIR, size: tuple[int, int]
) -> None:
    images = torch.stack([picture(*size), 1 - picture(*size)])
    torch.testing.assert_close(PhotoPooling(either, SIDE)(images), either(images))


@torch.no_grad()
def test_tiles_equal_one_piece(net: NAFNet) -> None:
    image = picture(260, 420)
    photo = restorer(PhotoPooling(net, SIDE))
    whole = restore(photo, image, tile=0)
    assert (whole - image).abs().mean() > 0.01, "the network must do something"
    tiled = restore(photo, image, tile=192, overlap=96)
    assert (tiled - whole).abs().max() < 1e-5
    for other in (net, local_inference(net, (64, 64))):
        by_tile = restorer(other)
        difference = restore(by_tile, image, tile=192, overlap=96) - restore(by_tile, image, tile=0)
        assert difference.abs().max() > 1e-3, "means over tiles do not add up to one piece"


@torch.no_grad()
def test_promptir_in_tiles_equals_one_piece_but_for_what_lies_far_away(promptir: PromptIR) -> None:
    image = picture(480, 640)

    def difference(network: nn.Module) -> Tensor:
        seen = restorer(network)
        return (restore(seen, image, tile=384, overlap=192) - restore(seen, image, tile=0)).abs()

    assert (restore(restorer(promptir), image, tile=0) - image).abs().mean() > 0.01, "it must do something"
    photo, by_tile = difference(PhotoPooling(promptir, SIDE)), difference(promptir)
    assert photo.mean() < by_tile.mean() / 100


@torch.no_grad()
def test_attention_and_prompts_of_promptir_are_those_of_the_photo_made_small(promptir: PromptIR) -> None:
    image = picture(128, 192)[None]
    small = F.interpolate(image, (SIDE, 96), mode="bilinear", antialias=True)
    judged: dict[str, list[Tensor]] = {"attention": [], "mixture": []}
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((TransposedAttention, "attention"), (PromptBlock, "mixture")):
            method = getattr(kind, name)
            patch.setattr(kind, name, lambda *seen, m=method, n=name: _noted(judged[n], m(*seen)))
        promptir(small)
    assert {name: len(found) for name, found in judged.items()} == {"attention": 10, "mixture": 3}
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((TransposedAttention, "attention"), (PromptBlock, "mixture")):
            patch.setattr(kind, name, lambda *_, later=judged[name]: later.pop(0))
        expected = promptir(image)
    torch.testing.assert_close(PhotoPooling(promptir, SIDE)(image), expected)
    assert (expected - promptir(image)).abs().max() > 1e-3


def _noted(found: list[Tensor], value: Tensor) -> Tensor:
    found.append(value)
    return value


@torch.no_grad()
def test_attention_is_that_of_the_photo_made_small(net: NAFNet) -> None:
    """By hand: run the network on the small photo, note what each attention gives, multiply by that."""
    image = picture(128, 192)[None]
    small = F.interpolate(image, (SIDE, 96), mode="bilinear", antialias=True)
    given: list[Tensor] = []
    blocks = [module for name, module in net.named_modules() if name.endswith(".sca")]
    hooks = [block.register_forward_hook(lambda *call: given.append(call[2])) for block in blocks]
    net(small)
    for hook in hooks:
        hook.remove()
    assert len(given) == len(blocks) == 5
    later = iter(given)
    hooks = [block.register_forward_hook(lambda *_: next(later)) for block in blocks]
    expected = net(image)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(PhotoPooling(net, SIDE)(image), expected)
    assert (expected - net(image)).abs().max() > 1e-3


@torch.no_grad()
def test_half_precision_works_on_large_photos(net: NAFNet) -> None:
    image = picture(130, 150)[None]
    half = PhotoPooling(copy.deepcopy(net).bfloat16(), SIDE)(image.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), PhotoPooling(net, SIDE)(image), atol=0.05, rtol=0.05)


@torch.no_grad()
def test_the_network_is_used_and_left_as_it_was(either: NAFNet | PromptIR) -> None:
    others = picture(90, 80)[None]
    before = either(others)
    settled = PhotoPooling(either, SIDE).for_photo(picture(80, 90)[None])
    assert torch.equal(either(others), before)
    assert not torch.equal(settled(others), before)
    mine, theirs = dict(settled.named_parameters()), dict(either.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(mine[name] is theirs[name] for name in theirs)


@pytest.mark.parametrize("model", ["nafnet", "promptir"])
def test_stored_networks_say_that_they_want_it(model: str, tmp_path: Path) -> None:
    config = zoo.CONFIGS[model]["tiny"]
    zoo.build_from(model, config | {"photo_side": 100}).save_pretrained(tmp_path / "net")
    loaded = load_restorer(model, tmp_path / "net", torch.device("cpu")).net
    assert isinstance(loaded, PhotoPooling)
    assert loaded.side == 100
    assert zoo.CONFIGS[model]["embedded"]["photo_side"] > 0, "what ships for large photos"
    if model == "promptir":
        assert set(zoo.CONFIGS[model]["embedded"]["prompt_sizes"]) == {1}, "tiles have no place in a photo"
