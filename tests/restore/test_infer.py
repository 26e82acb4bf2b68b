"""Tiles: nothing shows where they meet, memory stays bounded, the work can be watched and cancelled."""

from __future__ import annotations

import itertools
from collections.abc import Generator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gendeg_core.paths import WEIGHTS
from gendeg_core.restore import infer
from gendeg_core.restore.infer import CancelledError, Restored, restore, restore_steps, spans
from gendeg_core.restore.loading import Label, available, load_restorer
from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.types import Progress
from tests.restore.tiny import Blur, TileMean, drawing, randomised, restorer


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(2, 9), st.integers(0, 64), st.sampled_from([32, 64, 224]))
def test_spans_cover_every_position_once(length: int, cells: int, overlap: int, grid: int) -> None:
    tile, overlap = cells * grid, min(overlap, cells * grid // 2)
    line = spans(length, tile, overlap, grid)
    total = torch.zeros(length)
    for span in line:
        assert span.where.start % grid == 0
        assert 0 < span.where.stop - span.where.start <= tile
        assert span.where.stop <= length
        total[span.where] += span.weight
    assert torch.allclose(total, torch.ones(length), atol=1e-6)
    shared = [first.where.stop - second.where.start for first, second in itertools.pairwise(line)]
    assert all(part >= overlap for part in shared)
    assert (len(line) == 1) is (length <= tile)


def test_outer_pixels_of_a_tile_do_not_count_where_another_tile_knows_better() -> None:
    first, second = spans(220, 128, 32)
    assert (first.where, second.where) == (slice(0, 128), slice(96, 220))
    assert bool((first.weight[:96] == 1).all())
    assert bool((first.weight[-8:] == 0).all())
    assert bool((second.weight[:8] == 0).all())
    assert second.weight.diff().abs().max() <= 1 / 16  # a crossfade, no step


@pytest.mark.parametrize("shape", [(1, 1), (31, 200), (150, 333), (257, 129)])
def test_tiles_equal_one_piece_for_a_network_that_sees_no_further_than_the_margin(
    shape: tuple[int, int],
) -> None:
    image = drawing(*shape)
    blur = restorer(Blur(radius=8))
    whole = restore(blur, image, tile=0)
    assert restore(blur, image, tile=128, overlap=32) == pytest.approx(whole, abs=2e-6)
    assert whole.shape == image.shape


def steps(picture: Tensor, tile: int, overlap: int, grid: int = 32) -> tuple[Tensor, Tensor]:
    """Differences between neighbours: those in the reach of a border between tiles, and the others."""
    near, inside = [], []
    for axis in (-1, -2):
        line = spans(picture.shape[axis], tile, overlap, grid)
        reach = torch.zeros(picture.shape[axis] - 1, dtype=torch.bool)
        for first, second in itertools.pairwise(line):
            reach[second.where.start - 1 : first.where.stop] = True
        differences = picture.diff(dim=axis).abs().movedim(axis, 0)
        near.append(differences[reach].flatten())
        inside.append(differences[~reach].flatten())
    return torch.cat(near), torch.cat(inside)


@pytest.mark.parametrize(("overlap", "seamless"), [(64, True), (0, False)])
def test_steps_across_borders_are_no_larger_than_inside(overlap: int, seamless: bool) -> None:
    """The network sees further than the margin, the picture is smooth; without overlap the test must fail."""
    image = drawing(300, 420, edges=0)
    restored = restore(restorer(Blur(radius=24)), image, tile=160, overlap=overlap)
    near, inside = steps(restored, 160, overlap)
    assert (near.max() <= inside.max()).item() is seamless


@pytest.mark.parametrize(("overlap", "seamless"), [(64, True), (0, False)])
def test_borders_of_a_deep_network_cannot_be_seen(overlap: int, seamless: bool) -> None:
    """It pools over its tile and sees further than the margin; borders may add no step a byte would show."""
    image = drawing(420, 520)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = restorer(randomised(NAFNet(8, (1, 1, 1), 1, (1, 1, 1))))
    whole = restore(net, image, tile=0)
    tiled = restore(net, image, tile=192, overlap=overlap)
    assert (whole - image).abs().mean() > 0.05, "the network must do something"
    near, _ = steps(tiled - whole, 192, overlap)
    assert (near.max() < 1 / 255).item() is seamless
    near, inside = steps(tiled, 192, overlap)
    assert near.max() <= inside.max()


def test_a_shift_between_tiles_becomes_a_slope() -> None:
    image = torch.zeros(3, 160, 700)
    image += torch.linspace(0, 0.9, 700)
    restored = restore(restorer(TileMean()), image, tile=256, overlap=64)
    means = [image[..., span.where].mean().item() for span in spans(700, 256, 64)]
    shift = 0.3 * max(b - a for a, b in itertools.pairwise(means))
    step = (restored - image).diff(dim=-1).abs().max().item()
    assert step <= shift / 32 * 1.05  # the crossfade is at least half of the overlap wide


class Watcher(nn.Module):
    """Returns what it gets and notes the shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.shapes.append(tuple(image.shape))
        assert not torch.is_grad_enabled()
        return image * 1


@pytest.mark.parametrize(
    ("shape", "tile", "largest"),
    [
        ((512, 512), None, (512, 512)),
        ((700, 1024), None, (700, 1024)),
        ((700, 1024), 0, (700, 1024)),
        ((700, 1024), 300, (288, 288)),
        ((1, 300), 128, (1, 128)),
    ],
)
def test_tile_sizes(shape: tuple[int, int], tile: int | None, largest: tuple[int, int]) -> None:
    net, image = Watcher(), drawing(*shape)
    assert torch.allclose(restore(restorer(net), image, tile=tile), image, atol=1e-6)
    seen = [s[-2:] for s in net.shapes if s[-2:] != (256, 256) or shape == (256, 256)]
    assert max(seen) == largest


def test_a_wide_network_gets_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawing(600, 800)
    thin, wide = Watcher(), nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 3, 1))
    assert infer.largest_activation(thin) == 3 * 4
    assert infer.largest_activation(wide) == 64 * 4
    monkeypatch.setattr(infer, "ACTIVATION_BYTES", 64 * 4 * 256 * 256)

    def tile_of(net: nn.Module) -> int | None:
        *_, last = restore_steps(restorer(net), image)
        assert isinstance(last, Restored)
        return last.tile

    assert tile_of(thin) is None
    side = tile_of(wide)
    assert side is not None
    assert 128 <= side <= 256
    assert side % 32 == 0


def test_steps_report_every_tile_and_the_result() -> None:
    image = drawing(200, 300)
    items = list(restore_steps(restorer(Blur(2), "blur"), image, tile=128))
    *progress, last = items
    assert progress == [Progress(done, 6) for done in range(7)]
    assert isinstance(last, Restored)
    assert (last.model, last.weights, last.tile) == ("blur", "tiny@1", 128)
    assert last.seconds > 0
    assert last.image.shape == image.shape


def test_cancelling_stops_before_the_next_tile() -> None:
    net, seen = Watcher(), []
    with pytest.raises(CancelledError, match="after 2 of 6 tiles"):
        restore(
            restorer(net),
            drawing(200, 300),
            tile=128,
            on_progress=seen.append,
            cancelled=lambda: len(net.shapes) == 2,
        )
    assert len(net.shapes) == 2
    assert [item.done for item in seen] == [0, 1, 2]


def test_closing_the_steps_stops_the_work() -> None:
    net = Watcher()
    work = restore_steps(restorer(net), drawing(200, 300), tile=128)
    assert isinstance(work, Generator)
    next(work)
    next(work)
    work.close()
    assert len(net.shapes) == 1


def test_result_is_clamped_and_the_input_left_alone() -> None:
    image = drawing(40, 50)
    before = image.clone()
    brighter = TileMean()
    nn.init.constant_(brighter.gain, -5.0)
    restored = restore(restorer(brighter), image)
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert torch.equal(image, before)
    assert not restored.requires_grad


class Halved(Watcher):
    def forward(self, image: Tensor) -> Tensor:
        return image[..., ::2, ::2]


class Broken(Watcher):
    def forward(self, image: Tensor) -> Tensor:
        return image / 0


@pytest.mark.parametrize(
    ("net", "image", "options", "sentence"),
    [
        (Watcher(), torch.zeros(1, 3, 8, 8), {}, r"shape \(1, 3, 8, 8\)"),
        (Watcher(), torch.zeros(3, 0, 8), {}, r"shape \(3, 0, 8\)"),
        (Watcher(), torch.zeros(3, 8, 8, dtype=torch.uint8), {}, "uint8"),
        (Watcher(), torch.zeros(3, 8, 8), {"tile": 100}, "tile=100 is below 128"),
        (Watcher(), torch.zeros(3, 8, 8), {"tile": -1}, "tile=-1"),
        (Watcher(), torch.zeros(3, 8, 8), {"tile": 128, "overlap": 65}, "overlap=65 is outside 0 to 64"),
        (Halved(), torch.zeros(3, 8, 8), {}, "keeps the size"),
        (Broken(), torch.zeros(3, 8, 8), {}, "not numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(net: nn.Module, image: Tensor, options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        restore(restorer(net), image, **options)


def test_large_photos_never_reach_the_network_whole() -> None:
    net = Watcher()
    image = torch.rand(3, 1, 1).expand(3, 1300, 2100)
    assert torch.allclose(restore(restorer(net), image), image, atol=1e-6)
    sides = [side for shape in net.shapes for side in shape[-2:]]
    assert 640 < max(sides) <= 1024


class Windows(Watcher):
    """Adds its mean to every window of 64 pixels: right if its windows lie where those of the whole do."""

    grid = 64

    def forward(self, image: Tensor) -> Tensor:
        image = super().forward(image)
        height, width = (-(-side // 64) * 64 for side in image.shape[-2:])
        padded = torch.zeros(1, 3, height, width)
        padded[..., : image.shape[-2], : image.shape[-1]] = image
        means = torch.nn.functional.avg_pool2d(padded, 64).repeat_interleave(64, -1).repeat_interleave(64, -2)
        return (image + means[..., : image.shape[-2], : image.shape[-1]]) / 2


def test_tiles_lie_on_the_windows_of_the_network() -> None:
    net, image = restorer(Windows()), drawing(200, 330)
    whole = restore(net, image, tile=0)
    assert restore(net, image, tile=160) == pytest.approx(whole, abs=1e-6)  # cut to 128
    Windows.grid = 32
    try:
        assert (restore(net, image, tile=160) - whole).abs().max() > 0.05
    finally:
        Windows.grid = 64


@pytest.mark.parametrize("label", available(), ids=lambda label: f"{label.model}-{label.training}")
@pytest.mark.parametrize("light", [0.2, 1.0])
def test_borders_cannot_be_seen_with_the_shipped_weights(label: Label, light: float) -> None:
    """Borders may add no step that the network does not make inside as well, nor one that stands out."""
    # by their path: other tests may have put other networks in place of what ships
    net = load_restorer(label.model, WEIGHTS / f"{label.model}_{label.training}", torch.device("cpu"))
    grid: int = getattr(net.net, "grid", 32)  # windows of Swin: two of them into a tile
    tile, overlap = max(256, 2 * grid), 32
    image = drawing(tile + 64, tile + 164) * light
    whole = restore(net, image, tile=0)
    added, _ = steps(restore(net, image, tile=tile, overlap=overlap) - whole, tile, overlap, grid)
    _, inside = steps(whole - image, tile, overlap, grid)
    assert added.max() <= inside.max()
    assert added.max() < 4 / 255


def evening(height: int, width: int) -> Tensor:
    """(3, height, width): a wide even sky over a low, darker foreground."""
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    sky = torch.stack([0.55 + 0.3 * down, 0.68 + 0.2 * down, 0.85 + 0.05 * down])
    return torch.where(down > 0.7, drawing(height, width, edges=0.3) / 2, sky)


JUDGING_BY_THE_WHOLE = [label for label in available() if label.model in ("nafnet", "promptir")]


@pytest.mark.parametrize("label", JUDGING_BY_THE_WHOLE, ids=lambda label: f"{label.model}-{label.training}")
def test_a_wide_sky_is_judged_as_one_with_the_shipped_weights(label: Label) -> None:
    """Were every tile judged by itself, a band of other light would cross the sky, however soft."""
    net = load_restorer(label.model, WEIGHTS / f"{label.model}_{label.training}", torch.device("cpu"))
    image = evening(480, 640)
    whole = restore(net, image, tile=0)
    assert (whole - image).abs().max() > 4 / 255, "the network must do something"
    assert (restore(net, image, tile=256) - whole).abs().max() < 1 / 255
