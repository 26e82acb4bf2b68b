"""Base size, enlargement and tiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendeg_core.generate.full_size import LONGEST, base_shape, enlarge, resize, transferred_detail
from gendeg_core.tiles import Blend, doublings, tile_starts, tile_windows


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_base_shape_keeps_the_ratio_and_its_bounds(height, width):
    shape = base_shape(height, width, 256, 64)
    assert min(shape) >= 1
    assert max(shape) <= LONGEST * 256
    if max(height, width) <= 4 * min(height, width):
        assert min(shape) == min(max(min(height, width), 64), 256)
        assert abs(shape[0] / shape[1] - height / width) < 0.05 * height / width


def full(clean: torch.Tensor, base: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows for _, rows in enlarge(clean, base, painted)], 1)


def test_enlarging_an_untouched_photo_gives_the_photo():
    clean = texture(150, 200)
    base = resize(clean, (48, 64))
    assert (full(clean, base, base) - clean).abs().max() < 1e-3


def test_enlarging_homogeneous_haze_gives_haze_on_the_full_photo():
    """Koschmieder's model is affine in the photo, so the transfer has to be exact: t = 0.6, A = 0.8."""
    clean = resize(texture(40, 50), (150, 200)) * 0.6 + 0.4 * texture(150, 200, 1)
    base = resize(clean, (48, 64))
    painted = full(clean, base, 0.6 * base + 0.4 * 0.8)
    assert (painted - (0.6 * clean + 0.4 * 0.8)).abs().max() < 0.01


def test_nothing_shows_through_an_opaque_patch():
    clean = texture(160, 160)
    base = resize(clean, (40, 40))
    painted = base.clone()
    painted[:, 10:30, 10:30] = 0.9
    assert transferred_detail(base, painted)[0, 20, 20] < 0.05
    assert transferred_detail(base, painted)[0, 3, 3] > 0.95
    assert (full(clean, base, painted)[:, 70:90, 70:90] - 0.9).abs().max() < 0.05


def test_strips_do_not_change_the_picture(monkeypatch):
    clean = texture(150, 200)
    base = resize(clean, (48, 64))
    painted = base * 0.5
    whole = full(clean, base, painted)
    monkeypatch.setattr("gendeg_core.generate.full_size.STRIP_PIXELS", 200 * 7)
    strips = list(enlarge(clean, base, painted))
    assert len(strips) == 22
    assert (torch.cat([rows for _, rows in strips], 1) - whole).abs().max() < 1e-5


@given(st.integers(1, 500), st.integers(2, 60), st.data())
def test_tiles_cover_everything_and_overlap(length, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(length - tile, 0)
    assert all(0 < b - a <= tile - overlap for a, b in zip(starts, starts[1:], strict=False))


@settings(max_examples=20)
@given(st.integers(5, 70), st.integers(5, 70))
def test_blended_tiles_of_a_picture_are_the_picture(height, width):
    picture = texture(height, width)
    blend = Blend(picture, 6)
    for window in reversed(tile_windows(height, width, 20, 6)):
        blend.add(window, picture[:, window[0], window[1]])
    assert torch.allclose(blend.result(), picture, atol=1e-5)


def test_tiles_of_different_brightness_fade_into_each_other():
    """Two tiles, 0 and 1: across the overlap the blend rises evenly, a ramp step per pixel."""
    blend = Blend(torch.zeros(1, 8, 30), 10)
    for number, window in enumerate(tile_windows(8, 30, 20, 10)):
        blend.add(window, torch.full((1, 8, 20), float(number)))
    row = blend.result()[0, 4]
    assert row[0] == 0
    assert row[-1] == 1
    assert row.diff().max() < 0.1 + 1e-6


@pytest.mark.parametrize(
    ("large", "most", "expected"),
    [
        ((256, 341), 4096, []),
        ((400, 533), 4096, [(400, 533)]),
        ((1000, 1333), 4096, [(512, 682), (1000, 1333)]),
        ((1000, 1333), 600, [(512, 682)]),
        ((1000, 1333), 0, []),
    ],
)
def test_sizes_double_up_to_the_photo_or_the_limit(large, most, expected):
    assert list(doublings((256, 341), large, most)) == expected
