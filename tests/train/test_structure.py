"""The structure correction script from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.structure import StructureCorrection
from gendeg_core.types import Degradation
from train import gendeg, structure
from train.common.data import as_batch, pair_source
from train.common.errors import UsageError
from train.common.gendeg_components import new_expert
from train.common.options import make_accelerator


@pytest.fixture
def config(finished: gendeg.GenDegConfig, tmp_path: Path) -> structure.StructureConfig:
    return replace(
        structure.tiny(), generator=finished.output / "weights", photos=finished.photos,
        captions=finished.captions, output=tmp_path / "run", pool=8, steps=24, log_every=1, save_every=6,
    )  # fmt: skip


def test_a_tiny_run_corrects_and_its_pipeline_paints(config: structure.StructureConfig) -> None:
    structure.main(replace(config, whole=True))
    module = StructureCorrection.from_pretrained(config.output / "weights")
    torch.manual_seed(config.seed)
    fresh = StructureCorrection(
        config.width, config.encoder_blocks, config.middle_blocks, config.decoder_blocks
    )
    generator = structure.load_generator(config.generator, make_accelerator(config))
    batch = as_batch(pair_source(config), config.seed, 8)
    with torch.no_grad():
        trained, untrained = (
            sum(float(structure.structure_loss(m, generator, batch, 0.05, seed)) for seed in range(4))
            for m in (module, fresh)
        )
    assert trained < 0.9 * untrained
    pipeline, _ = load_pipeline(config.output / "generator", torch.device("cpu"))
    assert isinstance(pipeline.structure, StructureCorrection)
    state = pipeline.structure.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_it_resumes_exactly_and_logs_the_gain(config: structure.StructureConfig) -> None:
    def lines(run: Path) -> list[dict]:
        timed = {"images_per_second", "mfu"}
        rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        return [{name: value for name, value in row.items() if name not in timed} for row in rows]

    structure.main(replace(config, steps=9))
    whole = lines(config.output)
    assert {"psnr_generated", "psnr_corrected"} < whole[-1].keys()
    broken = replace(config, steps=9, output=config.output.with_name("broken"), pool=8)
    structure.main(replace(broken, sample_every=100, save_every=3))
    (broken.output / "checkpoint").rename(broken.output / "thrown-away")
    (broken.output / "checkpoint.previous").rename(broken.output / "checkpoint")  # of step 6
    structure.main(replace(broken, save_every=3))
    assert lines(broken.output) == whole


def test_the_estimate_is_one_reverse_step_without_gradient(config: structure.StructureConfig) -> None:
    generator = structure.load_generator(config.generator, make_accelerator(config))
    batch = as_batch(pair_source(config), 0, 6)
    estimated, weight = generator.estimate(batch, 0.0, seed=1)
    again, _ = generator.estimate(batch, 0.0, seed=1)
    other, _ = generator.estimate(batch, 0.0, seed=2)
    assert estimated.shape == (6, 3, 32, 32)
    assert not estimated.requires_grad
    assert torch.equal(estimated, again)
    assert not torch.equal(estimated, other)
    assert ((weight >= 0) & (weight <= 0.25)).all()
    assert -1 <= estimated.min() < estimated.max() <= 1


def test_the_published_network_is_the_paper_preset() -> None:
    paper = structure.paper()
    with torch.device("meta"):
        network = StructureCorrection(
            paper.width, paper.encoder_blocks, paper.middle_blocks, paper.decoder_blocks
        )
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(115.98e6, rel=1e-4)


def test_a_missing_generator_is_refused(config: structure.StructureConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give its weights folder as --generator"):
        structure.main(replace(config, generator=None))
    with pytest.raises(UsageError, match=r"model_index\.json is missing"):
        structure.main(replace(config, generator=tmp_path))


def test_a_generator_with_an_expert_is_refused(config: structure.StructureConfig, tmp_path: Path) -> None:
    assert config.generator is not None
    pipeline, _ = load_pipeline(config.generator, torch.device("cpu"))
    pipeline.register_modules(drop_unet=new_expert(Degradation.RAINDROP, pipeline.unet))
    pipeline.save_pretrained(tmp_path / "expert", safe_serialization=True)
    with pytest.raises(UsageError, match="give weights without drop_unet"):
        structure.main(replace(config, generator=tmp_path / "expert"))


def test_with_a_vae_the_latents_are_cached(
    config: structure.StructureConfig, finished: gendeg.GenDegConfig, tmp_path: Path
) -> None:
    pipeline, _ = load_pipeline(finished.output / "weights", torch.device("cpu"))
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8), norm_num_groups=4, latent_channels=48,
    )  # fmt: skip
    pipeline.register_modules(vae=vae)
    pipeline.save_pretrained(tmp_path / "with-vae")
    structure.main(replace(config, generator=tmp_path / "with-vae", steps=2))
    assert len(list((config.output / "pool").glob("latents-*/*.npy"))) == 1
