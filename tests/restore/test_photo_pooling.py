"""NAFNet with the attention of the whole photo: the same picture in tiles, and a veil judged at once."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.restore import zoo
from gendeg_core.restore.infer import restore
from gendeg_core.restore.loading import load_restorer
from gendeg_core.restore.local_pooling import local_inference
from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.photo_pooling import PhotoPooling
from tests.restore.tiny import randomised, restorer

SIDE = 64


@pytest.fixture(scope="module")
def net() -> NAFNet:
    """Two levels: no pixel sees further than its tile's margin, but for the attention."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return randomised(NAFNet(8, (1, 1), 1, (1, 1)), spread=0.6).eval()


def picture(height: int, width: int) -> Tensor:
    """(3, H, W), dark at the left and bright at the right."""
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))
    return noise * torch.linspace(0.1, 1, width)


@torch.no_grad()
@pytest.mark.parametrize("size", [(SIDE, 200), (40, 41)])
def test_small_images_come_out_as_from_the_network_itself(net: NAFNet, size: tuple[int, int]) -> None:
    images = torch.stack([picture(*size), 1 - picture(*size)])
    torch.testing.assert_close(PhotoPooling(net, SIDE)(images), net(images))


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


def test_the_network_is_used_and_left_as_it_was(net: NAFNet) -> None:
    before = [type(module) for module in net.modules()]
    settled = PhotoPooling(net, SIDE).for_photo(picture(80, 90)[None])
    assert [type(module) for module in net.modules()] == before
    mine, theirs = dict(settled.named_parameters()), dict(net.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(mine[name] is theirs[name] for name in theirs)


def test_stored_networks_say_that_they_want_it(tmp_path) -> None:
    config = zoo.CONFIGS["nafnet"]["tiny"]
    zoo.build_from("nafnet", config | {"photo_side": 100}).save_pretrained(tmp_path / "net")
    loaded = load_restorer("nafnet", tmp_path / "net", torch.device("cpu")).net
    assert isinstance(loaded, PhotoPooling)
    assert loaded.side == 100
    assert zoo.CONFIGS["nafnet"]["embedded"]["photo_side"] > 0, "what ships for large photos"
