"""GenDegPipeline: seeds, batches, sizes, guidance, targets, schedulers, cancel, saving."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest

import diffusers
import pytest
import torch

from gendeg_core.generate.detail import decode_in_tiles, encode_in_tiles, paint_detail
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.pipeline import GenDegPipeline, Guidance
from gendeg_core.statistics import degradation_map, measure
from gendeg_core.types import Degradation, DegradationRequest, Progress
from gendeg_core.weights import folder_identity
from tests.generate.tiny import shipped_kind, stable_diffusion_kind

ALL = list(Degradation)


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return (smooth + 0.1 * torch.rand(3, height, width, generator=generator)).clamp(0, 1)


def request(degradation: Degradation = Degradation.RAIN, *, seed: int = 1, **values) -> DegradationRequest:
    return DegradationRequest(
        degradation, values.get("mu", 0.1), values.get("sigma", 0.1), seed, "a red house"
    )


@pytest.fixture(scope="module")
def small() -> GenDegPipeline:
    return shipped_kind()


@pytest.fixture(scope="module")
def large() -> GenDegPipeline:
    return stable_diffusion_kind()


@pytest.mark.parametrize("kind", ["small", "large"])
def test_the_same_seed_gives_the_same_picture_alone_and_in_any_batch(kind, request):
    pipeline = request.getfixturevalue(kind)
    photos = [photo(48, 64, k) for k in range(3)]
    requests = [DegradationRequest(d, 0.1, 0.1, 7 + k) for k, d in enumerate(ALL[:3])]
    together = pipeline(photos, requests)
    in_twos = pipeline(photos, requests, max_batch=2)
    backwards = pipeline(photos[::-1], requests[::-1])[::-1]
    for k in range(3):
        alone = pipeline(photos[k : k + 1], requests[k : k + 1])[0].degraded
        for other in (together, in_twos, backwards):
            assert (other[k].degraded - alone).abs().max() < 1 / 255
    assert torch.equal(pipeline(photos, requests)[0].degraded, together[0].degraded)


def test_another_seed_mu_or_text_gives_another_picture(small):
    clean = photo(48, 48)
    first = small([clean], [request()])[0].degraded
    for other in (request(seed=2), request(mu=0.3), request(sigma=0.3), request(Degradation.SNOW)):
        assert (small([clean], [other])[0].degraded - first).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 47), (48, 48), (50, 131), (120, 90), (300, 20)])
def test_any_size_comes_back_as_it_went_in(small, size):
    clean = photo(*size)
    for degradation in (Degradation.HAZE, Degradation.RAIN):
        result = small([clean], [request(degradation)])[0]
        for image in (result.degraded, result.target, result.degradation_map):
            assert image.shape == clean.shape
            assert image.dtype == torch.float32
        assert 0 <= result.degraded.min() <= result.degraded.max() <= 1


def test_the_result_carries_what_was_measured(small):
    clean = photo(60, 80)
    asked = request()
    result = small([clean], [asked])[0]
    assert result.request == asked
    assert (result.mu_obtained, result.sigma_obtained) == measure(clean, result.degraded)
    assert torch.equal(result.degradation_map, degradation_map(clean, result.degraded))
    assert result.weights == small.weights_identity


def test_progress_counts_up_to_its_total_and_the_results_come_last(small):
    photos, requests = [photo(48, 48), photo(48, 64)], [request(), request(seed=5)]
    *signs, results = small.iterate(photos, requests, num_inference_steps=4)
    assert all(isinstance(sign, Progress) for sign in signs)
    assert [sign.done for sign in signs] == list(range(1, len(signs) + 1))
    assert {sign.total for sign in signs} == {len(signs)} == {2 * 4 + 2}
    assert [r.request for r in results] == requests


def test_closing_the_iterator_stops_between_steps(small, monkeypatch):
    calls = []
    forward = small.unet.forward
    monkeypatch.setattr(small.unet, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    running = small.iterate([photo(48, 48)], [request()], num_inference_steps=10)
    for _ in range(3):
        next(running)
    running.close()
    assert len(calls) == 3


def test_guidance_is_the_published_combination(small):
    """D(null, 0) + s_t [D(full) - D(null, image)] + s_i [D(null, image) - D(null, 0)], term by term."""
    clean, asked = photo(48, 48)[None], [request()]
    latent = small.encode_image(clean)
    noisy = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    t = torch.tensor(500.0)
    with torch.no_grad():

        def prediction(context, image):
            return small.unet(torch.cat([noisy, image], 1), t, context).sample

        full = prediction(small.context(asked), latent)
        image_only = prediction(small.null_context(), latent)
        null = prediction(small.null_context(), torch.zeros_like(latent))
        got = small.guided(noisy, latent, t, small.branches(asked, Guidance(4, 7.5, 1.5)))
    expected = null + 7.5 * (full - image_only) + 1.5 * (image_only - null)
    assert torch.allclose(got, expected, atol=1e-3 * float(expected.abs().max()))


def test_unit_guidance_needs_one_pass_of_the_network(small):
    assert len(small.branches([request()], Guidance(1, 1.0, 1.0))) == 1
    assert len(small.branches([request()], Guidance(1, 7.5, 1.5))) == 3


@pytest.mark.parametrize("degradation", ALL)
def test_the_target_is_the_photo_or_its_vae_round_trip(large, degradation):
    clean = photo(48, 48)
    result = large([clean], [request(degradation)])[0]
    with torch.no_grad():
        latent = large.encode_image(clean[None])
        round_trip = (large.vae.decode(latent).sample.clamp(-1, 1)[0] + 1) / 2
    if degradation in (Degradation.HAZE, Degradation.MOTION_BLUR, Degradation.RAINDROP):
        assert torch.equal(result.target, clean)
    else:
        assert torch.allclose(result.target, round_trip, atol=1e-5)
        assert (result.target - clean).abs().mean() > 0.01


@pytest.mark.parametrize("degradation", ALL)
def test_structure_correction_acts_on_haze_blur_and_raindrop_alone(large, degradation):
    corrected = stable_diffusion_kind(structure=True)
    clean = photo(48, 48)
    with_module = corrected([clean], [request(degradation)])[0].degraded
    without = large([clean], [request(degradation)])[0].degraded
    changed = (with_module - without).abs().max() > 1e-3
    assert changed == (degradation in (Degradation.HAZE, Degradation.MOTION_BLUR, Degradation.RAINDROP))


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 1.0}


@pytest.mark.parametrize(
    ("kind", "scheduler", "options"),
    [
        ("small", "FlowMatchHeunDiscreteScheduler", {}),
        ("small", "DPMSolverMultistepScheduler", FLOW),
        ("small", "UniPCMultistepScheduler", FLOW),
        ("large", "DDIMScheduler", {}),
        ("large", "DPMSolverMultistepScheduler", {}),
        ("large", "EulerDiscreteScheduler", {}),
        ("large", "HeunDiscreteScheduler", {}),
        ("large", "DDPMScheduler", {}),
    ],
)
def test_other_schedulers_run_and_keep_the_seed_in_any_batch(kind, scheduler, options):
    pipeline = shipped_kind() if kind == "small" else stable_diffusion_kind()
    pipeline.scheduler = getattr(diffusers, scheduler)(**options)
    photos, requests = [photo(48, 48, 0), photo(48, 48, 1)], [request(seed=3), request(seed=4)]
    pair = pipeline(photos, requests, num_inference_steps=4)
    alone = pipeline(photos[1:], requests[1:], num_inference_steps=4)
    assert torch.isfinite(pair[1].degraded).all()
    assert (pair[1].degraded - alone[0].degraded).abs().max() < 1 / 255


def test_detail_passes_keep_seed_and_size_and_report_their_steps():
    pipeline = shipped_kind(detail_size=200, detail_strength=0.5, num_inference_steps=4)
    clean = photo(150, 170)
    *signs, results = pipeline.iterate([clean], [request(Degradation.SNOW)])
    # base 48 -> 96 -> 150: two sizes of two steps each, after four steps, and one to finish
    assert signs[-1].total == 4 + 2 * 2 + 1 == len(signs)
    again = pipeline([clean], [request(Degradation.SNOW)])[0]
    assert torch.equal(again.degraded, results[0].degraded)
    coarse = shipped_kind(detail_size=0, num_inference_steps=4)([clean], [request(Degradation.SNOW)])[0]
    assert (coarse.degraded - again.degraded).abs().max() > 1e-3
    haze = pipeline([clean], [request(Degradation.HAZE)])[0]
    same = shipped_kind(num_inference_steps=4)([clean], [request(Degradation.HAZE)])[0]
    assert torch.equal(haze.degraded, same.degraded)


@pytest.mark.parametrize("kind", [shipped_kind, stable_diffusion_kind])
def test_runs_at_the_same_time_paint_what_they_paint_one_after_the_other(kind):
    pipeline = kind(detail_size=96, detail_strength=0.5)
    clean, jobs = photo(96, 96), [(request(seed=1), 4), (request(seed=2), 7)]
    alone = [pipeline([clean], [asked], num_inference_steps=steps)[0].degraded for asked, steps in jobs]

    def run(job):
        return pipeline.iterate([clean], [job[0]], num_inference_steps=job[1])

    by_turns = list(zip_longest(*map(run, jobs)))  # a step of the one, a step of the other
    with ThreadPoolExecutor(2) as threads:
        in_threads = list(threads.map(lambda job: list(run(job)), jobs))
    for k in range(2):
        last = [items[k] for items in by_turns if items[k] is not None][-1]
        assert torch.equal(last[0].degraded, alone[k])
        assert torch.equal(in_threads[k][-1][0].degraded, alone[k])


TARGET = 0.3  # what every latent is, as the network of `knowing` has it


def knowing(pipeline: GenDegPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network know the clean latents, and the codec show latents as they are."""
    config, fold = pipeline.scheduler.config, pipeline.fold

    def guided(scaled, _clean_latent, t, _branches, _layouts):
        if "prediction_type" not in config or config.prediction_type == "flow_prediction":
            return (scaled - TARGET) / (t / 1000)
        alpha_bar = pipeline.scheduler.alphas_cumprod[int(t)]
        noise = (scaled - alpha_bar.sqrt() * TARGET) / (1 - alpha_bar).sqrt()
        if config.prediction_type == "epsilon":
            return noise
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * TARGET

    monkeypatch.setattr(pipeline, "guided", guided)

    def decode(latents):
        return latents[:, :3].repeat_interleave(fold, -1).repeat_interleave(fold, -2)

    monkeypatch.setattr(pipeline, "decode", decode)


@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [
        (shipped_kind, "FlowMatchEulerDiscreteScheduler"),
        (shipped_kind, "FlowMatchHeunDiscreteScheduler"),
        (stable_diffusion_kind, "EulerDiscreteScheduler"),
        (stable_diffusion_kind, "HeunDiscreteScheduler"),
    ],
)
@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_a_detail_pass_removes_all_the_noise_it_adds(kind, scheduler, strength, monkeypatch):
    pipeline = kind(detail_strength=strength)
    pipeline.scheduler = getattr(diffusers, scheduler)()
    knowing(pipeline, monkeypatch)
    passes = paint_detail(pipeline, photo(48, 48), photo(48, 48, 1), request(), pipeline.guidance(4))
    *_, painted = passes
    assert (painted - (TARGET + 1) / 2).abs().max() < 0.01


def test_the_codec_of_detail_sees_tiles_only_and_gives_the_whole(large, monkeypatch):
    sides = []
    for name in ("encode", "decode"):
        inner = getattr(large.vae, name)
        monkeypatch.setattr(
            large.vae, name, lambda x, f=inner, side=name: sides.append((side, max(x.shape[-2:]))) or f(x)
        )
    clean = photo(16, 16).repeat(1, 25, 56)  # a network that norms over all it sees norms tiles alike
    with torch.no_grad():
        whole_latent = large.encode_image(clean[None])
        whole = large.decode(whole_latent * large.vae.config.scaling_factor)[0]
        sides.clear()
        latent = encode_in_tiles(large, clean[None])
        tiled = decode_in_tiles(large, latent * large.vae.config.scaling_factor)
    assert {side: max(length for s, length in sides if s == side) for side, _ in sides} == {
        "encode": 384, "decode": 384 // large.fold,
    }  # fmt: skip
    assert latent.shape == whole_latent.shape
    assert tiled.shape == whole.shape == clean.shape
    assert (tiled - whole).abs().mean() < 0.05 * whole.std()


def test_a_patch_codec_gives_the_same_in_tiles(small):
    clean = photo(400, 900)
    latent = encode_in_tiles(small, clean[None])
    assert torch.allclose(latent, small.encode_image(clean[None]), atol=1e-6)
    assert torch.allclose((decode_in_tiles(small, latent) + 1) / 2, clean, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "scheduler", "options"),
    [
        (shipped_kind, "FlowMatchEulerDiscreteScheduler", {}),
        (shipped_kind, "FlowMatchHeunDiscreteScheduler", {}),
        (shipped_kind, "DPMSolverMultistepScheduler", FLOW),
        (shipped_kind, "UniPCMultistepScheduler", FLOW),
        (stable_diffusion_kind, "EulerAncestralDiscreteScheduler", {}),
        (stable_diffusion_kind, "EulerAncestralDiscreteScheduler", {"prediction_type": "v_prediction"}),
        (stable_diffusion_kind, "HeunDiscreteScheduler", {}),
        (stable_diffusion_kind, "DDIMScheduler", {}),
        (stable_diffusion_kind, "DPMSolverMultistepScheduler", {}),
        (stable_diffusion_kind, "DPMSolverMultistepScheduler", {"prediction_type": "v_prediction"}),
    ],
)
def test_every_step_previews_the_clean_latents(kind, scheduler, options, monkeypatch):
    pipeline = kind()
    pipeline.scheduler = getattr(diffusers, scheduler)(
        **({"clip_sample": False} if scheduler == "DDIMScheduler" else {}), **options
    )
    knowing(pipeline, monkeypatch)
    shown = list(pipeline.sample(photo(48, 48)[None], [request()], pipeline.guidance(4), previews=True))
    assert len(shown) >= 4
    for latents in shown:
        assert (latents - TARGET).abs().max() < 0.05


def test_previews_are_pictures_of_the_photos_size(small):
    signs = list(small.iterate([photo(48, 50)], [request()], previews=True))[:3]
    assert [sign.preview.shape for sign in signs] == [(3, 48, 50)] * 3
    assert all(0 <= sign.preview.min() <= sign.preview.max() <= 1 for sign in signs)


@pytest.mark.parametrize("degradation", [Degradation.HAZE, Degradation.SNOW])
@pytest.mark.parametrize("kind", [shipped_kind, partial(stable_diffusion_kind, structure=True)])
def test_in_half_precision_it_paints_nearly_the_same(kind, degradation):
    clean = photo(96, 96)
    pipeline = kind(detail_size=96)
    full = pipeline([clean], [request(degradation)])[0].degraded
    half = pipeline.to(dtype=torch.bfloat16)([clean], [request(degradation)])[0].degraded
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.02


def test_matched_intensity_is_the_asked_one():
    pipeline = shipped_kind(match_intensity=True)
    raw = shipped_kind()([photo(48, 48)], [request()])[0].mu_obtained
    asked = request(mu=0.6 * raw)
    assert abs(pipeline([photo(48, 48)], [asked])[0].mu_obtained - asked.mu) < 1e-3


@pytest.mark.parametrize("kind", ["small", "large"])
def test_saved_and_loaded_it_paints_the_same(kind, request, tmp_path):
    pipeline = request.getfixturevalue(kind)
    pipeline.save_pretrained(tmp_path / "weights", safe_serialization=True)
    loaded, identity = load_pipeline(tmp_path / "weights", torch.device("cpu"))
    loaded.set_progress_bar_config(disable=True)
    clean, asked = photo(48, 48), DegradationRequest(Degradation.HAZE, 0.1, 0.1)
    first, second = pipeline([clean], [asked])[0], loaded([clean], [asked])[0]
    assert torch.allclose(first.degraded, second.degraded, atol=1e-5)
    assert second.weights == identity == folder_identity(tmp_path / "weights")
    assert identity.startswith("weights@")
    assert not list((tmp_path / "weights").rglob("*.bin"))


def test_how_far_detail_goes_can_be_said_when_weights_are_opened(large, tmp_path):
    large.save_pretrained(tmp_path / "weights")
    assert large.settings.detail_size == 0
    assert GenDegPipeline.from_pretrained(tmp_path / "weights", detail_size=2048).settings.detail_size == 2048


def test_opened_from_a_folder_it_knows_its_weights(small, tmp_path):
    assert small.weights_identity == "unnamed"
    small.save_pretrained(tmp_path / "weights")
    for folder in (tmp_path / "weights", str(tmp_path / "weights")):
        loaded = GenDegPipeline.from_pretrained(folder)
        assert loaded.weights_identity == folder_identity(tmp_path / "weights")


def test_missing_and_damaged_weights_are_said_in_a_sentence(small, tmp_path):
    with pytest.raises(OSError, match=r"model_index\.json is missing"):
        load_pipeline(tmp_path)
    small.save_pretrained(tmp_path / "w")
    stored = next((tmp_path / "w" / "unet").glob("*.safetensors"))
    stored.write_bytes(stored.read_bytes()[:100])
    with pytest.raises(OSError, match="cannot be read"):
        load_pipeline(tmp_path / "w")


def test_wrong_input_is_said_in_a_sentence(small):
    with pytest.raises(ValueError, match="1 photos but 2 requests"):
        small([photo(48, 48)], [request(), request()])
    with pytest.raises(ValueError, match=r"\(1, 48, 48\)"):
        small([photo(48, 48)[:1]], [request()])
