"""Experts: which denoiser paints what, and the layouts they are told."""

from __future__ import annotations

import math

import pytest
import torch

from gendeg_core.generate import detail
from gendeg_core.generate.drop_layout import usual_water
from gendeg_core.generate.experts import EXPERTS, draw_layout
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.pipeline import GenDegPipeline, Guidance
from gendeg_core.types import Degradation, DegradationRequest
from tests.generate.test_pipeline import photo, request
from tests.generate.tiny import shipped_kind, stir
from train.common.gendeg_components import new_expert

RAINDROP, MOTION_BLUR = Degradation.RAINDROP, Degradation.MOTION_BLUR
KNOWN = pytest.mark.parametrize("degradation", list(EXPERTS))


def with_experts(*degradations: Degradation, **options) -> GenDegPipeline:
    pipeline = shipped_kind(**options)
    for degradation in degradations or EXPERTS:
        expert = new_expert(degradation, pipeline.unet)
        with torch.no_grad():
            stir(expert, 0.05)
        pipeline.register_modules(**{EXPERTS[degradation]: expert})
    return pipeline


@KNOWN
def test_a_new_expert_paints_what_the_denoiser_does_until_it_is_trained(degradation):
    pipeline = shipped_kind()
    before = pipeline([photo(48, 64)], [request(degradation)])[0].degraded
    pipeline.register_modules(**{EXPERTS[degradation]: new_expert(degradation, pipeline.unet)})
    after = pipeline([photo(48, 64)], [request(degradation)])[0].degraded
    assert (after - before).abs().max() < 1 / 255  # sums are taken in another order


@KNOWN
def test_only_its_degradation_goes_to_an_expert(degradation):
    plain, expert = shipped_kind(), with_experts(degradation)
    for asked in Degradation:
        order = ([photo(48, 64)], [request(asked, seed=5)])
        same = torch.equal(plain(*order)[0].degraded, expert(*order)[0].degraded)
        assert same == (asked is not degradation), asked


def test_all_six_at_once_are_each_as_alone():
    pipeline = with_experts()
    asked = [request(degradation, seed=3) for degradation in Degradation]
    together = pipeline([photo(40, 56)] * 6, asked, max_batch=4)
    for result, one in zip(together, asked, strict=True):
        alone = pipeline([photo(40, 56)], [one])[0].degraded
        assert result.request is one
        assert (result.degraded - alone).abs().max() < 1 / 255


@KNOWN
def test_an_expert_is_told_the_layout_continued_beyond_the_border(monkeypatch, degradation):
    pipeline = with_experts(degradation)
    seen = []
    unet = pipeline.denoiser(degradation)
    forward = unet.forward
    monkeypatch.setattr(unet, "forward", lambda x, *a, **k: seen.append(x) or forward(x, *a, **k))
    pipeline([photo(41, 61)], [request(degradation)])
    layout = torch.nn.functional.pixel_shuffle(seen[0][:, 96:], 4)[0]
    assert layout.shape == (3, 48, 64)
    assert torch.equal(layout[:, :41, :61], draw_layout(request(degradation), 41, 61)(41, 61))
    assert (layout[:, 41:] == layout[:, 40:41]).all()
    assert (layout[:, :, 61:] == layout[:, :, 60:61]).all()


@KNOWN
def test_detail_passes_see_the_same_layout(monkeypatch, degradation):
    pipeline = with_experts(detail_size=192, match_intensity=False)
    told = []
    real = GenDegPipeline.expert

    def watched(self, requests, base, shape):
        expert = real(self, requests, base, shape)
        told.append(torch.nn.functional.pixel_shuffle(expert.layouts, 4)[0, :, : shape[0], : shape[1]])
        return expert

    monkeypatch.setattr(GenDegPipeline, "expert", watched)
    pipeline([photo(192, 240)], [request(degradation)])
    other = draw_layout(request(degradation, seed=9), 48, 60)(48, 60)
    assert [layout.shape[1:] for layout in told] == [(48, 60), (96, 120), (192, 240)]
    for layout in told[1:]:
        reduced = torch.nn.functional.adaptive_avg_pool2d(layout, (48, 60))
        assert (reduced - told[0]).abs().mean() < 0.3 * (other - told[0]).abs().mean()


@KNOWN
def test_each_tile_of_a_detail_pass_is_told_its_part(monkeypatch, degradation):
    monkeypatch.setattr(detail, "TILE", 64)
    monkeypatch.setattr(detail, "OVERLAP", 16)
    pipeline = with_experts(detail_size=96)
    seen = []
    unet = pipeline.denoiser(degradation)
    forward = unet.forward
    monkeypatch.setattr(unet, "forward", lambda x, *a, **k: seen.append(x) or forward(x, *a, **k))
    pipeline([photo(96, 144)], [request(degradation)])
    clean = torch.nn.functional.pixel_unshuffle(2 * photo(96, 144) - 1, 4)
    expected = draw_layout(request(degradation), 48, 72)(96, 144)
    whole = torch.nn.functional.pixel_unshuffle(expected, 4)
    tiles = [x[0] for x in seen if x.shape[-2:] == (16, 16)]
    assert len(tiles) >= 6
    for tile in tiles:  # found by its part of the photo
        places = [
            (y, x)
            for y in range(9)
            for x in range(21)
            if torch.allclose(clean[:, y : y + 16, x : x + 16], tile[48:96], atol=1e-5)
        ]
        ((y, x),) = places
        assert torch.allclose(whole[:, y : y + 16, x : x + 16], tile[96:], atol=1e-6)


@KNOWN
def test_each_branch_of_guidance_is_told(degradation):
    pipeline = with_experts()
    asked = [request(degradation)]
    expert = pipeline.expert(asked, (48, 64), (48, 64))
    noisy, latent = torch.randn(1, 48, 12, 16), torch.randn(1, 48, 12, 16)
    t = torch.tensor(700.0)
    got = pipeline.guided(noisy, latent, t, pipeline.branches(asked, Guidance(4, 7.5, 1.5)), expert)

    def answer(context, image):
        inputs = torch.cat([noisy, image, expert.layouts], 1)
        return pipeline.denoiser(degradation)(inputs, t, encoder_hidden_states=context).sample

    with torch.no_grad():
        null, zero = pipeline.null_context(), torch.zeros_like(latent)
        neither, photo_only = answer(null, zero), answer(null, latent)
        both = answer(pipeline.context(asked), latent)
        expected = neither + 7.5 * (both - photo_only) + 1.5 * (photo_only - neither)
    assert torch.allclose(got, expected, atol=1e-3, rtol=1e-4)


@KNOWN
def test_in_half_precision_an_expert_paints_nearly_the_same(degradation):
    pipeline = with_experts(detail_size=96)
    full = pipeline([photo(96, 96)], [request(degradation)])[0].degraded
    half = pipeline.to(dtype=torch.bfloat16)([photo(96, 96)], [request(degradation)])[0].degraded
    assert 0 < (half - full).abs().mean() < 0.02


@pytest.mark.parametrize("other", [Degradation.HAZE, MOTION_BLUR])
def test_mixed_latents_are_refused_with_a_sentence(other):
    pipeline = with_experts()
    clean = torch.stack([photo(48, 48)] * 2)
    with pytest.raises(ValueError, match=f"{other.value}, raindrop have denoisers of their own"):
        list(pipeline.sample(clean, [request(RAINDROP), request(other)]))


def test_experts_are_stored_and_read(tmp_path):
    pipeline = with_experts()
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    again, _ = load_pipeline(tmp_path, torch.device("cpu"))
    for degradation in EXPERTS:
        asked = ([photo(48, 64)], [request(degradation)])
        assert (pipeline(*asked)[0].degraded - again(*asked)[0].degraded).abs().max() < 1e-4


@pytest.mark.parametrize(("mu", "sigma"), [(0.01, 0.04), (0.05, 0.1), (0.12, 0.12)])
def test_a_layout_has_about_the_usual_share_of_water(mu, sigma):
    wanted = usual_water(mu, sigma)
    errors = []
    for seed in range(12):
        layout = draw_layout(DegradationRequest(RAINDROP, mu, sigma, seed, ""), 256, 320)(128, 160)
        errors.append(math.log(layout[0].mean().item() / wanted))
        assert abs(errors[-1]) < 0.35
    assert abs(sum(errors) / len(errors)) < 0.05


def test_more_intensity_means_more_water():
    shares = [usual_water(mu, 0.1) for mu in (0.0, 0.01, 0.1, 0.3, 0.7)]
    assert shares == sorted(shares)
    assert shares[-1] <= 0.9


@KNOWN
def test_a_layout_hangs_on_the_seed(degradation):
    first, again, other = (
        draw_layout(DegradationRequest(degradation, 0.05, 0.1, seed, ""), 64, 64)(64, 64)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@KNOWN
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 2), (17, 1000)])
def test_any_shape_has_a_layout(degradation, height, width):
    for seed in range(8):
        asked = DegradationRequest(degradation, 0.05, 0.1, seed, "")
        layout = draw_layout(asked, height, width)(height, width)
        assert layout.shape == (3, height, width)
        assert layout.isfinite().all()
        assert layout.abs().max() < 1 + 1e-5


def test_drops_keep_their_places_in_a_picture_that_was_squeezed():
    drawn = draw_layout(request(RAINDROP), 64, 512)
    squeezed, full = drawn(64, 512)[0], drawn(64, 640)[0]
    apart = (squeezed - torch.nn.functional.adaptive_avg_pool2d(full[None], (64, 512))[0]).abs().mean()
    elsewhere = (squeezed - full[:, :512]).abs().mean()
    assert apart < 0.6 * elsewhere


def test_what_no_expert_knows_has_no_layout():
    with pytest.raises(KeyError):
        draw_layout(request(Degradation.HAZE), 8, 8)
