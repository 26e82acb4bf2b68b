"""The GenDeg script from end to end, and the published recipe."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from gendeg_core.generate.experts import EXPERTS
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.published_sizes import unet_config
from gendeg_core.types import Degradation, DegradationRequest
from tests.train.conftest import reset_accelerate
from train import gendeg
from train.common import gendeg_samples
from train.common.data import as_batch
from train.common.errors import UsageError
from train.common.gendeg_components import paper_components, reduced_sizes, small_components, widen_input


def losses(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_tiny_run_learns_its_pairs(finished: gendeg.GenDegConfig, tmp_path: Path) -> None:
    def loss(config: gendeg.GenDegConfig) -> float:
        reset_accelerate()
        run = gendeg.set_up(config)
        batch = as_batch(run.pairs, 0, 24)
        with torch.no_grad():
            return float(sum(gendeg.training_loss(run, batch, config, seed) for seed in range(4)))

    assert loss(finished) < 0.9 * loss(replace(finished, output=tmp_path / "untrained"))


def test_it_logs_every_step_and_paints_with_the_weights(finished: gendeg.GenDegConfig) -> None:
    assert list(losses(finished.output)) == list(range(1, finished.steps + 1))
    assert (finished.output / f"samples-{finished.steps:07d}.png").is_file()
    pipeline, _ = load_pipeline(finished.output / "weights", torch.device("cpu"))
    clean = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(0))
    (result,) = pipeline([clean], [DegradationRequest("haze", 0.1, 0.05)])  # pyright: ignore[reportArgumentType]
    assert result.degraded.shape == clean.shape
    assert result.mu_obtained > 0


@pytest.fixture(scope="module", params=["raindrop", "motion_blur"])
def expert(
    finished: gendeg.GenDegConfig, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> gendeg.GenDegConfig:
    """A finished tiny run of an expert."""
    config = replace(
        finished, output=tmp_path_factory.mktemp("expert") / "run", base=str(finished.output / "weights"),
        expert=request.param, steps=12,
    )  # fmt: skip
    reset_accelerate()
    gendeg.main(config)
    return config


def test_an_expert_leaves_the_rest_of_its_base_as_it_is(expert: gendeg.GenDegConfig) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.safetensors")}

    before, after = files(Path(expert.base)), files(expert.output / "weights")
    name = EXPERTS[Degradation(expert.expert)]
    assert set(after) - set(before) == {f"{name}/diffusion_pytorch_model.safetensors"}
    assert all(after[name] == content for name, content in before.items())


def test_an_expert_keeps_the_settings_of_its_base(expert: gendeg.GenDegConfig, tmp_path: Path) -> None:
    pipeline, _ = load_pipeline(Path(expert.base), torch.device("cpu"))
    pipeline.register_to_config(detail_size=2048, num_inference_steps=6, guidance_scale=2.0)
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    kept = small_components(replace(expert, base=str(tmp_path))).pipeline().config
    names = ("detail_size", "num_inference_steps", "guidance_scale", "base_size", "match_intensity")
    assert [kept[name] for name in names] == [pipeline.config[name] for name in names]


def test_training_on_leaves_experts_out_that_would_no_longer_fit(
    finished: gendeg.GenDegConfig, expert: gendeg.GenDegConfig, tmp_path: Path
) -> None:
    reset_accelerate()
    config = replace(
        finished, base=str(expert.output / "weights"), output=tmp_path / "run", steps=2, sample_every=2
    )
    gendeg.main(config)
    pipeline, _ = load_pipeline(config.output / "weights", torch.device("cpu"))
    assert [getattr(pipeline, name) for name in EXPERTS.values()] == [None, None]


def test_an_expert_learns_to_heed_the_layout(expert: gendeg.GenDegConfig) -> None:
    pipeline, _ = load_pipeline(expert.output / "weights", torch.device("cpu"))
    unet = pipeline.denoiser(Degradation(expert.expert))
    weights = unet.conv_in.weight
    assert weights.shape[1] == 3 * unet.conv_out.out_channels
    assert weights[:, 96:].abs().max() > 0  # it starts at zero


def test_an_expert_goes_on_as_if_it_had_not_stopped(expert: gendeg.GenDegConfig, tmp_path: Path) -> None:
    config = replace(expert, output=tmp_path / "run", steps=8)
    gendeg.main(config)
    reset_accelerate()
    gendeg.main(replace(config, steps=12))
    assert losses(config.output) == losses(expert.output)
    name = f"weights/{EXPERTS[Degradation(expert.expert)]}/diffusion_pytorch_model.safetensors"
    assert (config.output / name).read_bytes() == (expert.output / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base": ""}, "starts from small weights"),
        ({"size_of_model": "paper", "objective": "epsilon"}, "starts from small weights"),
        ({"pairs": ("somewhere",)}, "neither --pairs nor"),
        ({"emphasis": ("raindrop=2",)}, "neither --pairs nor"),
        ({"photos": None}, "give --photos"),
        ({"text_start": 3}, "neither --pairs nor"),
    ],
)
def test_an_expert_says_what_it_cannot_learn_from(
    expert: gendeg.GenDegConfig, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(expert, **options)  # pyright: ignore[reportArgumentType]


def test_accumulated_gradients_are_those_of_the_mean_loss(
    finished: gendeg.GenDegConfig, tmp_path: Path
) -> None:
    config = replace(finished, output=tmp_path / "run")
    run = gendeg.set_up(config)
    batches = [as_batch(run.pairs, seed, 4) for seed in (0, 1)]
    weight = run.parts.unet.conv_out.weight
    mean = sum(gendeg.training_loss(run, batch, config, 7) for batch in batches) / 2
    (expected,) = torch.autograd.grad(mean, weight)  # pyright: ignore[reportCallIssue, reportArgumentType]
    for batch in batches:
        with run.accelerator.accumulate(run.model):
            run.accelerator.backward(gendeg.training_loss(run, batch, config, 7))
    torch.testing.assert_close(weight.grad, expected)


def test_the_average_follows_the_published_ramp(finished: gendeg.GenDegConfig, tmp_path: Path) -> None:
    ema = gendeg.set_up(replace(finished, output=tmp_path / "run", ema=0.9999)).ema
    assert all(weights.dtype == torch.float32 for weights in ema.shadow_params)
    # One update more than the official counter; from step 2 on, (1 + n) / (10 + n) with n = updates - 1.
    assert [ema.get_decay(n) for n in (2, 11, 101)] == pytest.approx([2 / 11, 11 / 20, 101 / 110])
    assert ema.get_decay(200_000) == 0.9999


# ------------------------------------------------------------------ published recipe


@pytest.fixture(scope="module")
def paper() -> gendeg.GenDegConfig:
    return replace(gendeg.paper(), base="")


def test_the_paper_networks_have_the_published_size(paper: gendeg.GenDegConfig) -> None:
    with torch.device("meta"):
        parts = paper_components(paper)
    assert sum(p.numel() for p in parts.unet.parameters()) == 859_532_484
    assert parts.unet.conv_in.weight.shape == (320, 8, 3, 3)
    assert sum(p.numel() for p in parts.vae.parameters()) == 83_653_863
    assert sum(p.numel() for p in parts.text_encoder.parameters()) == 123_060_480
    assert parts.vae.config.scaling_factor == 0.18215


def test_learning_rates_and_groups_are_published(paper: gendeg.GenDegConfig) -> None:
    with torch.device("meta"):
        model = gendeg.GenDegModel(paper_components(paper))
    unet, projections = gendeg.parameter_groups(model, paper)
    assert unet["lr"] == 1e-4
    assert projections["lr"] == pytest.approx(1e-3)
    assert {id(p) for p in unet["params"]} == {id(p) for p in model.unet.parameters()}
    assert [tuple(p.shape) for p in projections["params"]] == [(77, 129), (77,), (768, 770), (768,)]
    optimiser = torch.optim.AdamW([unet, projections], betas=paper.betas)
    assert all(g["weight_decay"] == 0.01 and g["betas"] == (0.9, 0.999) for g in optimiser.param_groups)
    assert {gendeg.learning_rate(paper, step) for step in (0, 1, 500, paper.steps - 1)} == {1.0}
    assert 2 * paper.batch * paper.gradient_accumulation == 128
    assert (paper.ema, paper.ema_updates, paper.dropout) == (0.9999, 4, 0.05)


def test_widening_keeps_four_channels_and_adds_four_of_zero() -> None:
    unet = UNet2DConditionModel(**{**unet_config(reduced_sizes(10)), "in_channels": 4})
    wide = widen_input(unet)
    assert torch.equal(wide.conv_in.weight[:, :4], unet.conv_in.weight)
    assert wide.conv_in.weight.shape[1] == 8
    assert not wide.conv_in.weight[:, 4:].any()
    assert torch.equal(wide.conv_out.weight, unet.conv_out.weight)


def test_the_published_recipe_runs_at_reduced_width(
    paper: gendeg.GenDegConfig,
    photos: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gendeg_samples, "PAIRS_EACH", 1)  # guided sampling costs more than the two steps
    config = replace(
        paper, width_divisor=10, photos=photos[0], captions=photos[1], output=tmp_path / "run", size=64,
        steps=2, batch=2, gradient_accumulation=2, pool=4, workers=0, log_every=1,
    )  # fmt: skip
    gendeg.main(config)
    # An untrained network answers with nearly nothing, so its error is the noise itself.
    assert all(0.8 < loss < 1.6 for loss in losses(config.output).values())
    assert len(list((config.output / "pool").glob("latents-*/*.npy"))) == 1
    pipeline, _ = load_pipeline(config.output / "weights", torch.device("cpu"))
    added = pipeline.unet.conv_in.weight[:, 4:]
    assert added.dtype == torch.float32
    assert 0 < added.abs().max() < 1e-3  # started at zero, and has taken two steps


# ------------------------------------------------------------------ refusals


def test_unusable_options_are_refused_with_a_sentence(photos: tuple[Path, Path], tmp_path: Path) -> None:
    tiny = replace(gendeg.tiny(), output=tmp_path / "run")
    with pytest.raises(UsageError, match="nothing to train on; give --photos"):
        gendeg.main(tiny)
    with pytest.raises(UsageError, match=r"no usable photo below .*nowhere"):
        gendeg.main(replace(tiny, photos=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no caption file"):
        gendeg.main(replace(tiny, photos=photos[0], captions=tmp_path / "none.csv"))
    with pytest.raises(UsageError, match="size=36 is not divisible by 8, as this model needs; use --size 32"):
        gendeg.main(replace(tiny, photos=photos[0], size=36))
    with pytest.raises(UsageError, match="batch=0 must be at least 1"):
        replace(tiny, batch=0)
    with pytest.raises(UsageError, match="give --objective flow"):
        replace(tiny, objective="epsilon")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_refuses_other_options(finished: gendeg.GenDegConfig) -> None:
    before = (finished.output / "config.json").read_text()
    with pytest.raises(UsageError, match="seed was 0 and is now 3, clip was 1.0 and is now 2.0"):
        gendeg.main(replace(finished, seed=3, clip=2.0, log_every=7))
    assert (finished.output / "config.json").read_text() == before


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train.gendeg", "--preset", "tiny", "--output", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("error: nothing to train on")
    assert "Traceback" not in ended.stderr


def test_learning_rate_warms_up_and_falls() -> None:
    config = replace(gendeg.tiny(), steps=100, warmup=10, decay_from=0.5)
    factors = [gendeg.learning_rate(config, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:51] == [1.0] * 41
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[50:]))
    assert factors[-1] == pytest.approx(0.02)
