"""The codec script from end to end, and its measurement."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from gendeg_core.generate.published_sizes import vae_config
from train import autoencoder
from train.common.data import as_batch, held_source
from train.common.errors import UsageError
from train.common.perceptual import perceptual_distance
from train.common.tracking import psnr


@pytest.fixture
def config(photos: tuple[Path, Path], tmp_path: Path) -> autoencoder.AutoencoderConfig:
    return replace(
        autoencoder.tiny(), photos=photos[0], captions=photos[1], output=tmp_path / "run", pool=24, steps=30,
        sample_every=10,
    )  # fmt: skip


def held_psnr(run: Path) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["psnr"] for row in rows if "psnr" in row]


def test_a_tiny_run_learns_and_is_measured_beside_the_patch_codec(
    config: autoencoder.AutoencoderConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    autoencoder.main(config)
    reached = held_psnr(config.output)
    assert len(reached) == 3
    torch.manual_seed(config.seed)
    held = autoencoder.images(as_batch(held_source(config), config.seed, 24), torch.device("cpu"))
    with torch.no_grad():
        untrained = psnr(autoencoder.Reconstruction(autoencoder.build(config))(held)[0], held)
    assert reached[-1] > untrained + 2
    weights = config.output / "weights"
    vae = AutoencoderKL.from_pretrained(weights)
    assert isinstance(vae, AutoencoderKL)
    assert 0 < vae.config["scaling_factor"] != 0.18215

    capsys.readouterr()
    autoencoder.main(replace(config, measure=("patch:4", str(weights))))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows[0][:4] == ["patch:4", "1.000", "inf", "inf"]
    assert rows[1][1] == "0.333"  # 4 numbers for 2 x 2 pixels of 3
    assert sum(map(float, rows[1][2:4])) / 2 == pytest.approx(reached[-1], abs=0.2)


def test_scaled_latents_have_unit_variance(config: autoencoder.AutoencoderConfig) -> None:
    vae = autoencoder.build(config)
    held = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config.output.mkdir()
    autoencoder.save(config, vae, held)
    with torch.no_grad():
        latents = vae.encode(held).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
    assert (latents * vae.config["scaling_factor"]).std().item() == pytest.approx(1, rel=1e-4)


def test_the_paper_preset_is_stable_diffusions_autoencoder() -> None:
    with torch.device("meta"):
        ours, theirs = autoencoder.build(autoencoder.paper()), AutoencoderKL(**vae_config())
    assert {n: p.shape for n, p in ours.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }


def test_unusable_options_are_refused(config: autoencoder.AutoencoderConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'patch:x' is no codec"):
        autoencoder.main(replace(config, measure=("patch:x",)))
    with pytest.raises(UsageError, match="give patch:N, or a folder"):
        autoencoder.main(replace(config, measure=(str(tmp_path),)))
    with pytest.raises(UsageError, match="size=33 is not divisible by 2"):
        autoencoder.main(replace(config, size=33))
    with pytest.raises(UsageError, match="must divide each of widths"):
        replace(config, groups=7)
    with pytest.raises(UsageError, match="give their file as --trunk"):
        replace(config, perceptual=1.0)
    with pytest.raises(UsageError, match="there is no file"):
        perceptual_distance(tmp_path / "vgg16.pth", torch.device("cpu"))
