"""The restoration script: it improves held pairs, resumes exactly, and keeps to its recipes."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.swin import SwinRestorer
from gendeg_core.restore.zoo import CONFIGS
from tests.train.conftest import reset_accelerate
from tests.train.drawn import draw_photo
from tests.train.test_resume import start_and_kill
from train import restore
from train.common.errors import UsageError
from train.common.pool import PairPool
from train.common.restoration import (
    CAUTION,
    PAPER,
    bounded_psnr_loss,
    cautious_loss,
    l1_loss,
    loss_function,
    psnr_loss,
    rate_factor,
)

TIMED = {"images_per_second", "mfu"}


def rows_of(run: Path) -> list[dict[str, Any]]:
    """Logged numbers that do not depend on how fast the machine is."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


@pytest.fixture(scope="module")
def trained(photos: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> restore.RestoreConfig:
    """The configuration of a tiny run that has ended."""
    config = replace(
        restore.tiny(), photos=photos[0], captions=photos[1],
        output=tmp_path_factory.mktemp("restore") / "run", log_every=1, save_every=40,
    )  # fmt: skip
    reset_accelerate()
    restore.main(config)
    return config


def test_the_tiny_preset_improves_held_pairs(trained: restore.RestoreConfig) -> None:
    last = rows_of(trained.output)[-1]
    assert last["psnr"] > last["psnr_input"] + 0.3
    assert (trained.output / f"held-out-{trained.steps:07d}.png").is_file()
    # The weights that are kept are the averaged ones, which gave those numbers.
    network = NAFNet.from_pretrained(str(trained.output / "weights"))
    assert isinstance(network, NAFNet)
    held = restore.held_batch(trained)
    restored = restore.restore_held(network.eval(), held, torch.device("cpu"))
    assert restore.held_numbers(restored, held)["psnr"] == pytest.approx(last["psnr"], abs=1e-3)


def test_a_killed_run_resumes_exactly(trained: restore.RestoreConfig, tmp_path: Path) -> None:
    config = replace(trained, output=tmp_path / "run")
    shutil.copytree(trained.output / "pool", config.output / "pool")  # making pairs has a test of its own
    options = (
        f"--model nafnet --preset tiny --photos {config.photos} --captions {config.captions} "
        f"--output {config.output} --log-every 1 --save-every 40"
    )
    start_and_kill(
        [sys.executable, "-m", "train.restore", *options.split()],
        config.output / "checkpoint",
        longest_wait=0.3,
    )
    assert not (config.output / "weights").exists()

    restore.main(config)
    assert rows_of(config.output) == rows_of(trained.output)  # to the last digit
    name = Path("weights/diffusion_pytorch_model.safetensors")
    assert (config.output / name).read_bytes() == (trained.output / name).read_bytes()


@pytest.mark.parametrize("model", ["promptir", "swin"])
def test_the_other_networks_take_the_same_road(
    trained: restore.RestoreConfig, tmp_path: Path, model: Any
) -> None:
    pool = trained.output / "pool"
    config = replace(
        restore.tiny(model), output=tmp_path, pools=(f"{pool}@48",), pool=0, steps=60, log_every=1
    )
    restore.main(config)
    losses = [row["loss"] for row in rows_of(tmp_path) if "loss" in row]
    assert sum(losses[-20:]) < sum(losses[:20])
    assert restore.stored_pool(f"{pool}@48").length == 48
    assert json.loads((tmp_path / "weights" / "config.json").read_text())[
        "residual" if model == "swin" else "width"
    ]


def test_pools_are_drawn_from_in_proportion(trained: restore.RestoreConfig) -> None:
    pool = trained.output / "pool"
    mixed = restore.source_of(replace(trained, photos=None, pools=(f"{pool}@32", str(pool))))
    assert mixed.weights == [32, 96]  # pyright: ignore[reportAttributeAccessIssue]
    stored = PairPool.stored(pool)
    assert stored.entry(7)["degradation"] == 7 % 6
    with pytest.raises(IndexError):
        stored.entry(96)


def write_stored_pairs(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """One pair per degradation, the degraded one half as bright."""
    for number, (kind, size) in enumerate(sizes.items()):
        image = draw_photo(number, size)
        for side, pixels in (("gt", image), ("lq", image.point([v // 2 for v in range(256)] * 3))):
            (folder / kind / side).mkdir(parents=True)
            pixels.save(folder / kind / side / "1.png")


def short_run(tmp_path: Path, **options: Any) -> restore.RestoreConfig:
    """Two steps on stored pairs, of which one is smaller than the scenes and one than the crops."""
    write_stored_pairs(tmp_path / "pairs", {"haze": (80, 64), "rain": (44, 40), "snow": (30, 28)})
    config = replace(
        restore.tiny(), pairs=(str(tmp_path / "pairs"),), output=tmp_path / "run", pool=0, steps=2, batch=2,
        sample_every=2, held_pairs=3, **options,
    )  # fmt: skip
    restore.main(config)
    return config


def test_training_pairs_are_not_called_held_out(tmp_path: Path) -> None:
    config = short_run(tmp_path)
    last = rows_of(config.output)[-1]
    assert {"training_psnr", "training_psnr_haze", "training_psnr_rain", "training_psnr_snow"} <= set(last)
    assert "psnr" not in last
    assert [path.name for path in config.output.glob("*.png")] == ["training-0000002.png"]


def test_weights_of_an_older_swin_network_begin_a_new_one(tmp_path: Path) -> None:
    config = CONFIGS["swin"]["tiny"]
    older = SwinRestorer(**config | {"refinement_channels": 0}).eval()
    torch.nn.init.normal_(older.output.weight)
    older.save_pretrained(tmp_path / "older")
    network = SwinRestorer(**config).eval()
    restore.copy_weights(network, tmp_path / "older")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(image), older(image))
    smaller = SwinRestorer(**config | {"refinement_channels": 4})
    smaller.save_pretrained(tmp_path / "smaller")
    with pytest.raises(UsageError, match="holds no weights of this network"):
        restore.copy_weights(network, tmp_path / "smaller")


def test_stored_pairs_can_be_held_out(tmp_path: Path) -> None:
    write_stored_pairs(tmp_path / "held", {"low_light": (80, 64), "mine": (36, 33)})
    config = short_run(tmp_path, held=f"low_light={tmp_path / 'held'}")
    last = rows_of(config.output)[-1]
    assert last["psnr_low_light"] == last["psnr"]
    assert (config.output / "held-out-0000002.png").is_file()
    with pytest.raises(UsageError, match=r"--held .*mine.* does not say which degradation"):
        restore.main(replace(config, held=str(tmp_path / "held"), output=tmp_path / "other"))


# ------------------------------------------------------------------ recipes


def test_losses_by_hand() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    restored = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    assert psnr_loss(restored, clean, clean).item() == pytest.approx(-30, abs=1e-3)  # of 20 and 40 dB
    bounded = bounded_psnr_loss(restored, clean, clean).item()
    assert bounded == pytest.approx(-(19.957 + 36.990) / 2, abs=1e-3)
    assert bounded_psnr_loss(clean, clean, restored).item() == pytest.approx(-40, abs=1e-5)
    assert l1_loss(restored, clean, clean).item() == pytest.approx(0.055)


def test_the_cautious_loss_by_hand() -> None:
    """Of even grey images SSIM is (2xy + c) / (x² + y² + c) with c = 0.0001."""
    clean, near, far = (torch.full((1, 3, 16, 16), value) for value in (0.5, 0.6, 0.8))
    squared = {"near": 10 * math.log10(0.1**2 + 1e-4), "far": 10 * math.log10(0.3**2 + 1e-4)}
    unlike = {
        "near": 10 * math.log10(1 - 0.6001 / 0.6101 + 0.01),
        "far": 10 * math.log10(1 - 0.8001 / 0.8901 + 0.01),
    }
    value = {name: squared[name] + unlike[name] / 2 for name in squared}
    assert cautious_loss(near, clean, far).item() == pytest.approx(value["near"], abs=0.02)
    harm = value["far"] - value["near"]
    assert harm > 0
    assert cautious_loss(far, clean, near).item() == pytest.approx(value["far"] + CAUTION * harm, abs=0.02)
    both = [torch.cat(pair) for pair in ((near, far), (clean, clean), (far, near))]
    more = loss_function("cautious", CAUTION + 5)
    assert more(far, clean, near).item() == pytest.approx(value["far"] + (CAUTION + 5) * harm, abs=0.1)
    assert more(near, clean, far).item() == pytest.approx(value["near"], abs=0.02)
    assert loss_function("l1", 7)(far, clean, near).item() == pytest.approx((far - clean).abs().mean().item())
    alone = cautious_loss(near, clean, far) + cautious_loss(far, clean, near)
    assert cautious_loss(*both).item() == pytest.approx(alone.item() / 2, abs=1e-4)


def test_the_rate_rises_and_falls_as_asked() -> None:
    def promptir(step: int) -> float:
        return rate_factor(step, 120, warmup=15 / 120, horizon=150 / 120, final=0.0)

    assert promptir(0) == pytest.approx(1 / 16)
    assert promptir(15) == 1
    assert 0 < promptir(119) < 0.2  # its cosine ends a quarter of a run later
    nafnet = [rate_factor(step, 100, warmup=0, horizon=1, final=1e-4) for step in (0, 50, 100)]
    assert nafnet == pytest.approx([1, 0.50005, 1e-4])


def test_the_paper_presets_are_the_published_recipes() -> None:
    nafnet, promptir = restore.paper("nafnet"), restore.paper("promptir")
    assert (nafnet.loss, nafnet.clip, nafnet.betas, nafnet.learning_rate) == ("psnr", 0.01, (0.9, 0.9), 1e-3)
    assert (nafnet.final_rate, nafnet.size, nafnet.batch, nafnet.warmup) == (1e-7, 256, 8, 0)
    assert (promptir.loss, promptir.clip, promptir.learning_rate, promptir.size) == ("l1", 0, 2e-4, 128)
    assert (promptir.batch, promptir.moves, promptir.weight_decay) == (8, "always", 0.01)
    assert {model: restore.paper(model).size_of_model for model in PAPER} == dict.fromkeys(PAPER, "paper")


# ------------------------------------------------------------------ refusals


def test_unusable_options_are_refused_with_a_sentence(trained: restore.RestoreConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scene=48 is smaller than the crops of size=64"):
        replace(trained, size=64)
    with pytest.raises(UsageError, match="pools replace --photos and --pairs"):
        replace(trained, pools=("somewhere",))
    new = replace(trained, photos=None, output=tmp_path / "run")
    with pytest.raises(UsageError, match="no complete pool of pairs in somewhere"):
        restore.main(replace(new, pools=("somewhere",)))
    with pytest.raises(UsageError, match="holds 96 pairs, not 97; ask for 1 to 96"):
        restore.main(replace(new, pools=(f"{trained.output / 'pool'}@97",)))
    with pytest.raises(UsageError, match="is not PATH or PATH@COUNT"):
        restore.main(replace(new, pools=("somewhere@half",)))
    with pytest.raises(UsageError, match="unknown size of swin 'GoPro-width32'"):
        restore.main(replace(trained, model="swin", size_of_model="GoPro-width32", output=tmp_path / "run"))
    with pytest.raises(UsageError, match="nothing to train on"):
        restore.main(new)
    assert not (tmp_path / "run").exists()
