"""How the picture moves and what a denoiser is told of it, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gendeg_core.scatter.motion import MOTIONS, Passage, Path, Region, Turn
from gendeg_core.seeds import torch_generator
from gendeg_core.simulate import motion_blur
from gendeg_core.simulate.strength import LaidOut
from train.common.pairs import layout_bytes, layout_of, mirrored_layout


def straight(degrees: float) -> Path:
    t, angle = torch.linspace(-0.1, 0.1, 9), math.radians(degrees)
    return Path(t * math.sin(angle), t * math.cos(angle))


@pytest.mark.parametrize(
    ("degrees", "across", "along"),
    [(0, 0, 1), (180, 0, 1), (90, 0, -1), (45, 1, 0), (-45, -1, 0), (30, math.sqrt(3) / 2, 0.5)],
)
def test_a_line_is_told_by_twice_its_angle(degrees, across, along):
    layout = straight(degrees).layout(2, 5)
    expected = torch.tensor([1.0, across, along])[:, None, None].expand(3, 2, 5)
    assert torch.allclose(layout, expected, atol=1e-5)


def test_a_round_path_has_no_direction():
    t = torch.arange(16) * (2 * math.pi / 16)
    assert torch.allclose(Path(t.sin(), t.cos()).layout(1, 1)[1:], torch.zeros(2, 1, 1), atol=1e-6)
    assert torch.equal(Path(t * 0, t * 0).layout(1, 1), torch.tensor([1.0, 0.0, 0.0])[:, None, None])


@pytest.mark.parametrize(
    ("angle", "zoom", "right", "below"),
    [(0.0, 0.2, (0, 1), (0, -1)), (0.2, 0.0, (0, -1), (0, 1)), (0.2, 0.2, (-1, 0), (1, 0))],
)
def test_zoom_moves_along_the_ray_and_a_turn_across_it(angle, zoom, right, below):
    layout = Turn(0.5, 0.5, angle, zoom).layout(101, 101)
    assert layout[0, 50, 50] == 0
    assert layout[1:, 50, 90].tolist() == pytest.approx(right, abs=1e-5)
    assert layout[1:, 90, 50].tolist() == pytest.approx(below, abs=1e-5)
    assert layout[0, 50, 90].item() == pytest.approx(40 / (50.5 * math.sqrt(2)))


def test_a_passage_tells_the_share_of_the_motion():
    region = Region(0.5, 0.25, 0.5, 0.25, torch.full((128, 128), 0.5), edge=0.1, rest=0.2)
    layout = Passage(straight(0), region).layout(64, 96)
    assert layout[0, 32, 48] == 1
    assert layout[0, 0, 0] == pytest.approx(0.2)
    assert torch.equal(layout[1:], straight(0).layout(64, 96)[1:])


@pytest.mark.parametrize("name", list(MOTIONS))
def test_a_motion_is_the_same_at_every_size(name):
    for seed in range(4):
        motion = MOTIONS[name](torch_generator(seed))
        small, large = motion.layout(48, 80), motion.layout(96, 160)
        halved = torch.nn.functional.avg_pool2d(large, 2)
        assert (small - halved).abs().mean() < 0.02


@pytest.mark.parametrize("name", list(MOTIONS))
def test_a_mirrored_layout_is_that_of_the_mirrored_motion(name):
    for seed in range(4):
        motion = MOTIONS[name](torch_generator(seed))
        if isinstance(motion, Path):
            mirrored = Path(motion.y, -motion.x).layout(8, 8)
        elif isinstance(motion, Turn):
            mirrored = Turn(motion.y, 1 - motion.x, -motion.angle, motion.zoom).layout(8, 8)
        else:
            path = Path(motion.path.y, -motion.path.x)
            mirrored = torch.cat([motion.layout(8, 8)[:1].flip(-1), path.layout(8, 8)[1:]])
        got = layout_of(mirrored_layout(layout_bytes(motion.layout(8, 8))))
        assert torch.allclose(got, mirrored, atol=1 / 127)


def test_stripes_across_the_told_direction_blur_and_those_along_it_stay():
    wave = (torch.arange(64) % 8 < 4).float()
    upright, level = wave.expand(3, 64, 64), wave[:, None].expand(3, 64, 64)
    directions = []
    for seed in range(12):
        changes = {}
        for name, clean in (("upright", upright), ("level", level)):
            render = motion_blur.linear(clean, torch_generator(seed))
            assert isinstance(render, LaidOut)
            changes[name] = (render(1.0) - clean).abs().mean().item()
            along = render.layout(1.0)[2, 0, 0].item()
        if abs(along) > 0.7:
            assert (changes["upright"] > changes["level"]) == (along > 0)
            directions.append(along > 0)
    assert set(directions) == {True, False}


def test_a_turn_blurs_upright_stripes_where_it_moves_sideways():
    clean = (torch.arange(96) % 8 < 4).float().expand(3, 96, 96)
    checked = 0
    for seed in range(12):
        render = motion_blur.rotation_zoom(clean, torch_generator(seed))
        share, across, along = render.layout(0.3)
        change = (render(0.3) - clean).abs().mean(0)
        sideways, upright = (share > 0.4) & (along > 0.8), (share > 0.4) & (along < -0.8)
        if sideways.sum() > 200 and upright.sum() > 200:
            assert change[sideways].mean() > 1.5 * change[upright].mean()
            slanted = (share > 0.4) & (across.abs() > 0.9)
            assert change[sideways].mean() > 0.9 * change[slanted].mean()
            checked += 1
    assert checked > 2


def test_what_is_told_to_move_more_changes_more():
    clean = torch.rand(3, 96, 96, generator=torch_generator(0))
    for seed in range(4):
        render = motion_blur.moving_object(clean, torch_generator(seed))
        share, change = render.layout(0.5)[0], (render(0.5) - clean).abs().mean(0)
        assert change[share > 0.9].mean() > 1.5 * change[share < 0.35].mean()
