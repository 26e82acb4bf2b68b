"""The expert for raindrops: where drops lie, and which denoiser paints what."""

from __future__ import annotations

import math

import pytest
import torch

from gendeg_core.generate.drop_layout import draw_layout, usual_water
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.types import Degradation, DegradationRequest
from tests.generate.test_pipeline import photo, request
from tests.generate.tiny import shipped_kind, stir
from train.common.gendeg_components import told_of_drops

RAINDROP = Degradation.RAINDROP


def with_expert(**options) -> GenDegPipeline:
    plain = shipped_kind(**options)
    expert = told_of_drops(plain.unet)
    with torch.no_grad():
        stir(expert, 0.05)
    plain.register_modules(drop_unet=expert)
    return plain


def test_a_new_expert_paints_what_the_denoiser_does_until_it_is_trained():
    pipeline = shipped_kind()
    before = pipeline([photo(48, 64)], [request(RAINDROP)])[0].degraded
    pipeline.register_modules(drop_unet=told_of_drops(pipeline.unet))
    after = pipeline([photo(48, 64)], [request(RAINDROP)])[0].degraded
    assert (after - before).abs().max() < 1 / 255  # sums are taken in another order


def test_only_raindrops_go_to_the_expert():
    plain, expert = shipped_kind(), with_expert()
    for degradation in Degradation:
        asked = ([photo(48, 64)], [request(degradation, seed=5)])
        same = torch.equal(plain(*asked)[0].degraded, expert(*asked)[0].degraded)
        assert same == (degradation is not RAINDROP), degradation


def test_all_six_at_once_are_each_as_alone():
    pipeline = with_expert()
    asked = [request(degradation, seed=3) for degradation in Degradation]
    together = pipeline([photo(40, 56)] * 6, asked, max_batch=4)
    for result, one in zip(together, asked, strict=True):
        alone = pipeline([photo(40, 56)], [one])[0].degraded
        assert result.request is one
        assert (result.degraded - alone).abs().max() < 1 / 255


def test_the_layout_decides_where_the_expert_paints(monkeypatch):
    pipeline = with_expert()
    seen = []
    forward = pipeline.drop_unet.forward
    monkeypatch.setattr(
        pipeline.drop_unet, "forward", lambda x, *a, **k: seen.append(x) or forward(x, *a, **k)
    )
    pipeline([photo(41, 61)], [request(RAINDROP)])
    layout = torch.nn.functional.pixel_shuffle(seen[0][:, 96:], 4)[0]
    expected = draw_layout(request(RAINDROP), 41, 61).at(41, 61)
    assert torch.equal(layout[:, :41, :61], expected)
    assert (layout[:, 41:] == 0).all()
    assert (layout[:, :, 61:] == 0).all()


def test_detail_passes_see_the_same_drops(monkeypatch):
    pipeline = with_expert(detail_size=192, match_intensity=False)
    shapes = []
    real = GenDegPipeline.layout

    def watched(self, one, base, shape):
        shapes.append((base, shape))
        return real(self, one, base, shape)

    monkeypatch.setattr(GenDegPipeline, "layout", watched)
    pipeline([photo(192, 240)], [request(RAINDROP)])
    assert shapes == [((48, 60), (48, 60)), ((48, 60), (96, 120)), ((48, 60), (192, 240))]


def test_mixed_latents_are_refused_with_a_sentence():
    pipeline = with_expert()
    clean = torch.stack([photo(48, 48)] * 2)
    with pytest.raises(ValueError, match="raindrops have a denoiser of their own"):
        list(pipeline.sample(clean, [request(RAINDROP), request(Degradation.HAZE)]))


def test_the_expert_is_stored_and_read(tmp_path):
    pipeline = with_expert()
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    again, _ = load_pipeline(tmp_path, torch.device("cpu"))
    asked = ([photo(48, 64)], [request(RAINDROP)])
    assert (pipeline(*asked)[0].degraded - again(*asked)[0].degraded).abs().max() < 1e-4


@pytest.mark.parametrize(("mu", "sigma"), [(0.01, 0.04), (0.05, 0.1), (0.12, 0.12)])
def test_a_layout_has_about_the_usual_share_of_water(mu, sigma):
    wanted = usual_water(mu, sigma)
    for seed in range(5):
        drops = draw_layout(DegradationRequest(RAINDROP, mu, sigma, seed, ""), 256, 320)
        got = drops.at(256, 320)[0].mean().item()
        assert abs(math.log(got / wanted)) < 0.35


def test_more_intensity_means_more_water_and_seeds_differ():
    shares = [usual_water(mu, 0.1) for mu in (0.0, 0.01, 0.1, 0.3, 0.7)]
    assert shares == sorted(shares)
    assert shares[-1] <= 0.9
    first, again, other = (
        draw_layout(DegradationRequest(RAINDROP, 0.05, 0.1, seed, ""), 64, 64).at(64, 64)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 2), (17, 1000)])
def test_any_shape_has_a_layout(height, width):
    layout = draw_layout(request(RAINDROP), height, width).at(height, width)
    assert layout.shape == (3, height, width)
    assert layout.isfinite().all()
