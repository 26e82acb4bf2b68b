"""The DA-CLIP losses are those of the papers, views match in both images, runs learn and resume exactly."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import default_collate

from gendeg_core.embed.loading import load_embedder
from gendeg_core.types import Degradation
from tests.train.conftest import reset_accelerate
from tests.train.drawn import draw_photo
from tests.train.test_resume import start_and_kill
from train import daclip
from train.common.contrast import gathered, symmetric_loss
from train.common.data import as_batch, held_source
from train.common.errors import UsageError
from train.common.pool import PairPool
from train.common.texture_pool import TexturePool, worn_pairs
from train.common.views import resized, training_views
from train.common.wear import worn


def embeddings(count: int = 4, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images, texts = F.normalize(torch.randn(2, count, width, generator=generator), dim=-1)
    return images, texts


def test_the_published_loss_takes_row_k_for_the_only_right_text():
    images, texts = embeddings()
    same = torch.zeros(4, 3, dtype=torch.long)
    logits = 5 * images @ texts.T
    right = torch.arange(4)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    scale = torch.tensor(5.0)
    torch.testing.assert_close(symmetric_loss(images, texts, scale, same, "identity"), expected)
    different = torch.arange(12).view(4, 3)
    torch.testing.assert_close(symmetric_loss(images, texts, scale, different, "repeated"), expected)


def test_repeated_texts_are_right_for_all_their_images():
    """Two words, each for two images, embedded perfectly: only the choice between two equals is left."""
    words = F.normalize(torch.tensor([[1.0, 0], [-1.0, 0]]), dim=-1)[[0, 1, 0, 1]]
    tokens = torch.tensor([[7, 1], [7, 2], [7, 1], [7, 2]])
    loss = symmetric_loss(words, words, torch.tensor(100.0), tokens, "repeated")
    assert loss.item() == pytest.approx(math.log(2), abs=1e-4)
    swapped = symmetric_loss(words, words[[1, 0, 3, 2]], torch.tensor(100.0), tokens, "repeated")
    assert swapped > 10
    # images of one word told apart: the published targets reward it, though the words do not say it
    apart = words + torch.tensor([[0, 0.1], [0, 0.1], [0, -0.1], [0, -0.1]])
    apart = F.normalize(apart, dim=-1)
    scale = torch.tensor(100.0)
    assert symmetric_loss(apart, apart, scale, tokens, "identity") < math.log(2) - 0.1
    assert symmetric_loss(apart, apart, scale, tokens, "repeated") > math.log(2)


def test_one_process_gathers_nothing():
    images, _ = embeddings()
    assert gathered(images) is images


def positions(side: int = 40) -> dict[str, torch.Tensor]:
    """Images whose red and green tell row and column."""
    row = torch.arange(side, dtype=torch.uint8)
    red, green = row[:, None].expand(side, side), row[None].expand(side, side)
    image = torch.stack([red, green, red]).repeat(6, 1, 1, 1)
    return {"degraded": image, "clean": image.clone()}


def test_both_images_are_cut_alike_and_crops_vary():
    draws = torch.Generator().manual_seed(1)
    degraded, clean = training_views(positions(), 16, 1.0, 10, draws)
    assert degraded.shape == (6, 3, 16, 16)
    assert torch.equal(degraded, clean)
    corners = degraded[:, :2, 0, 0] * 255
    sides = (degraded[:, 0, -1, 0] - degraded[:, 0, 0, 0]) * 255
    assert len(corners.round().unique(dim=0)) > 3
    assert sides.min() < 25
    assert sides.max() > 25
    again = training_views(positions(), 16, 1.0, 10, torch.Generator().manual_seed(1))
    assert torch.equal(degraded, again[0])


def test_without_crops_nine_tenths_of_the_area_stay():
    degraded, _ = training_views(positions(), 40, 0.0, 10, torch.Generator().manual_seed(1))
    sides = (degraded[:, 0, -1, 0] - degraded[:, 0, 0, 0]) * 255 + 1
    assert sides.min() >= 40 * math.sqrt(0.9) - 1
    assert resized(degraded, 40) is degraded


@pytest.fixture(scope="module")
def run(photos: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> daclip.DaclipConfig:
    """A finished tiny run."""
    config = replace(
        daclip.tiny(), photos=photos[0], captions=photos[1], output=tmp_path_factory.mktemp("run") / "daclip",
        pool=48, steps=60, batch=16, log_every=1, save_every=20, sample_every=30,
        learning_rate=3e-3, clip=1.0,
    )  # fmt: skip
    reset_accelerate()
    daclip.main(config)
    return config


def lines(output: Path, key: str) -> dict[int, dict[str, float]]:
    found = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line for line in found if key in line}


def test_a_tiny_run_learns_the_words_and_the_strength(run: daclip.DaclipConfig):
    steps = lines(run.output, "loss")
    assert len(steps) == 60
    first, last = ([steps[k] for k in ks] for ks in (range(1, 6), range(56, 61)))
    for name, factor in (("degradation", 0.8), ("read_out", 0.7)):
        before, after = (sum(line[name] for line in part) for part in (first, last))
        assert after < factor * before, name
    line = steps[60]
    total = line["content"] + line["degradation"] + line["alignment"] + line["read_out"]
    assert line["loss"] == pytest.approx(total, rel=1e-5)
    assert line["learning_rate"] == pytest.approx(0, abs=1e-9)


def test_zero_shot_accuracy_is_that_of_the_saved_weights(run: daclip.DaclipConfig):
    logged = lines(run.output, "zero_shot_accuracy")
    assert sorted(logged) == [30, 60]
    embedder = load_embedder(run.output / "weights", "cpu")
    held = as_batch(held_source(run), run.seed, run.held_pairs)
    _, degradation = embedder.embed(held["degraded"].float() / 255)
    kinds, _ = embedder.classify(degradation)
    truth = [list(Degradation)[int(k)] for k in held["degradation"]]
    right = sum(a == b for a, b in zip(kinds, truth, strict=True)) / len(truth)
    assert logged[60]["zero_shot_accuracy"] == pytest.approx(right, abs=1.01 / len(truth))  # half precision
    assert "strength_correlation" in logged[60]


def test_a_killed_run_resumes_exactly(run: daclip.DaclipConfig, tmp_path: Path):
    config = replace(run, output=tmp_path / "run")
    options = (
        f"--preset tiny --photos {config.photos} --captions {config.captions} --output {config.output} "
        "--pool 48 --steps 60 --batch 16 --log-every 1 --save-every 20 --sample-every 30 "
        "--learning-rate 3e-3 --clip 1"
    )
    start_and_kill(
        [sys.executable, "-m", "train.daclip", *options.split()],
        config.output / "checkpoint",
        longest_wait=0.3,
    )
    assert not (config.output / "weights").exists()
    daclip.main(config)
    assert lines(config.output, "loss") == lines(run.output, "loss")  # to the last digit
    ours, theirs = ((c.output / "weights" / "model.safetensors").read_bytes() for c in (config, run))
    assert ours == theirs


def task_of(config: daclip.DaclipConfig) -> tuple[daclip.Task, daclip.Student]:
    torch.manual_seed(0)
    model, sizes = daclip.make_model(config)
    task = daclip.Task(
        config, sizes, daclip.Preprocessing(32), daclip.build_tokenizer(sizes), torch.device("cpu")
    )
    return task, daclip.Student(model, sizes["embed_dim"])


def batch_of(config: daclip.DaclipConfig, photos: tuple[Path, Path]) -> dict:
    return as_batch(held_source(replace(config, photos=photos[0], captions=photos[1])), 0, 6)


def test_published_training_moves_the_controller_alone(photos: tuple[Path, Path], tmp_path: Path):
    """Frozen towers, two losses, no read-out: the published setting from a file of CLIP weights."""
    import open_clip

    from gendeg_core.embed.models import model_config

    clip = open_clip.CLIP(**model_config("gendeg_tiny"))
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    config = replace(
        daclip.tiny(), towers=False, pretrained=str(tmp_path / "clip.pt"), alignment=0.0, read_out=0.0,
        targets="identity",
    )  # fmt: skip
    task, student = task_of(config)
    assert torch.equal(student.model.clip.visual.proj, clip.visual.proj)
    batch = batch_of(config, photos)
    degraded, captions, words, clean = task.inputs(batch, 0)
    assert clean is None
    features, read = student(degraded, captions, words, clean)
    losses = task.losses(features, read, captions, words, batch["mu"].float())
    losses.total.backward()
    assert losses.total.item() == pytest.approx(losses.content.item() + losses.degradation.item())
    moved = {n for n, p in student.model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {name.split(".")[0] for name in moved} == {"visual_control", "logit_scale"}
    assert "visual_control.transformer.zero_modules.0.weight" in moved


def test_a_share_of_the_batch_may_carry_the_captions(photos: tuple[Path, Path]):
    config = replace(daclip.tiny(), content=0.5)
    task, student = task_of(config)
    batch = batch_of(config, photos)
    degraded, captions, words, clean = task.inputs(batch, 0)
    features, read = student(degraded, captions, words, clean)
    assert len(captions) == len(features.content) == len(features.clean) == 3
    assert len(words) == len(features.degradation) == 6
    assert torch.isfinite(task.losses(features, read, captions, words, batch["mu"].float()).total)


def test_alignment_pulls_towards_clip_on_the_clean_image(photos: tuple[Path, Path]):
    config = daclip.tiny()
    task, student = task_of(config)
    batch = batch_of(config, photos)
    degraded, captions, words, clean = task.inputs(batch, 0)
    features, read = student(degraded, captions, words, clean)
    losses = task.losses(features, read, captions, words, batch["mu"].float())
    expected = (features.content - features.clean).abs().mean()
    torch.testing.assert_close(losses.alignment, expected)
    same, _ = student(clean, captions, words, clean)  # untrained controls change nothing
    torch.testing.assert_close(same.content, same.clean)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"crop": 1.5}, "crop=1.5 is no chance"),
        ({"content": 0.0}, "content=0.0 is no share of the batch"),
        ({"unchanged": True, "pool": 8}, "cannot stay unchanged with crop=0.8 and pool=8"),
        ({"unchanged": True, "crop": 0.0}, "cannot stay unchanged with crop=0.0 and pool=0"),
        ({"towers": False}, "frozen towers need weights"),
    ],
)
def test_impossible_options_are_refused(changes: dict, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        replace(daclip.tiny(), **changes)


def test_unknown_models_and_weights_are_refused():
    with pytest.raises(UsageError, match="knows no model 'nothing'"):
        daclip.make_model(replace(daclip.tiny(), model="nothing"))
    unchanged = replace(daclip.tiny(), unchanged=True, crop=0.0, pool=8)
    with pytest.raises(UsageError, match="it has no texture stem; choose gendeg_small"):
        daclip.make_model(unchanged)
    with pytest.raises(UsageError, match="its images have 256 pixels, not 32; give --size 256"):
        daclip.make_model(replace(unchanged, model="gendeg_small"))
    with pytest.raises(UsageError, match="no CLIP with its stem; leave --pretrained out"):
        daclip.make_model(replace(daclip.tiny(), model="gendeg_small", pretrained="openai"))
    with pytest.raises(UsageError, match="--model gendeg_tiny: "):
        daclip.make_model(replace(daclip.tiny(), pretrained="no-such-tag"))


@pytest.mark.parametrize("preset", ["embedded", "paper", "wild"])
def test_presets_build(preset: str):
    from gendeg_core.embed.models import build, model_config

    config = daclip.PRESETS[preset]()
    with torch.device("meta"):
        model = build(model_config(config.model), frozen=not config.towers)
    size = sum(p.numel() for p in model.parameters())
    if preset == "embedded":
        assert 2 * size < 12e6, "half precision must stay below 12 MB"
    assert {"embedded": 3.34e6, "paper": 246.2e6, "wild": 756.8e6}[preset] == pytest.approx(size, rel=0.01)


@pytest.fixture(scope="module")
def texture_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a small model with a texture stem, for pairs of 64 pixels."""
    import open_clip

    from gendeg_core.embed.models import model_config

    sizes = model_config("gendeg_small")
    folder = tmp_path_factory.mktemp("configs")
    vision = {**sizes["vision_cfg"], "image_size": 64, "width": 32}
    (folder / "texture_64.json").write_text(json.dumps({**sizes, "embed_dim": 16, "vision_cfg": vision}))
    open_clip.add_model_config(folder)
    return "texture_64"


@pytest.fixture(scope="module")
def unchanged_run(
    photos: tuple[Path, Path], texture_model: str, tmp_path_factory: pytest.TempPathFactory
) -> daclip.DaclipConfig:
    """A finished run on kept statistics."""
    config = replace(
        daclip.tiny(), photos=photos[0], captions=photos[1], output=tmp_path_factory.mktemp("run") / "run",
        model=texture_model, unchanged=True, crop=0.0, size=64, pool=12, steps=4, save_every=2,
        sample_every=4, log_every=1,
    )  # fmt: skip
    reset_accelerate()
    daclip.main(config)
    return config


def test_pairs_that_stay_unchanged_have_their_statistics_computed_once(unchanged_run: daclip.DaclipConfig):
    folder = unchanged_run.output / "pool"
    (file,) = folder.glob("texture-32-*/*.npy")
    stored, pairs = torch.from_numpy(np.load(file)), PairPool.stored(folder)
    embedder = load_embedder(unchanged_run.output / "weights", "cpu")
    stem, normalise = embedder.model.visual_control.conv1, embedder.config.preprocessing.normalise
    for number in (0, 11):
        pair = pairs.entry(number)
        found = stem.statistics(normalise(torch.stack([pair["clean"], pair["degraded"]]).float() / 255))
        torch.testing.assert_close(stored[number].float(), found, atol=2e-2, rtol=2e-3)
    kept = TexturePool(pairs, stem, normalise, 0.0, folder, Accelerator(cpu=True))
    seen = [kept.pair(0, k) for k in range(12)]
    assert sorted(item["mu"] for item in seen) == sorted(note["mu"] for note in pairs.notes)
    by_mu = {note["mu"]: number for number, note in enumerate(pairs.notes)}
    task, _ = task_of(unchanged_run)
    degraded, _, _, clean = task.inputs(default_collate(seen), 0)
    order = [by_mu[item["mu"]] for item in seen]
    assert torch.equal(degraded, stored[order, 1].float())
    assert clean is not None
    assert torch.equal(clean, stored[order, 0].float())


def test_a_run_goes_on_from_weights_with_worn_images(unchanged_run: daclip.DaclipConfig, tmp_path: Path):
    start = unchanged_run.output / "weights"
    config = replace(
        unchanged_run, output=tmp_path / "run", start=start, wear=1.0, learning_rate=1e-2, warmup=0, steps=2
    )
    daclip.main(config)
    before, after = (load_embedder(folder, "cpu").model for folder in (start, config.output / "weights"))
    assert torch.equal(before.visual_control.conv1.centre, after.visual_control.conv1.centre)
    apart = [(a - b).abs().max() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert 4e-3 < max(apart) < 5e-2
    reset_accelerate()
    daclip.main(replace(config, keep=0.25))  # the run has ended: only what it saves is made again
    mixed = load_embedder(config.output / "weights", "cpu").model
    for a, b, both in zip(before.parameters(), after.parameters(), mixed.parameters(), strict=True):
        torch.testing.assert_close(both, 0.25 * a + 0.75 * b, atol=2e-3, rtol=2e-3)
    (plain,) = (unchanged_run.output / "pool").glob("texture-*/*.npy")
    (worn_file,) = (config.output / "pool").glob("texture-*-wear-1/*.npy")
    same = (np.load(plain) == np.load(worn_file)).all((2, 3, 4))
    assert same[:, 0].all(), "clean images are never worn"
    assert same[:, 1].sum() < 3, "only what is flat stays as it is"
    with pytest.raises(UsageError, match="--start .* has no config.json"):
        daclip.main(replace(config, output=tmp_path / "other", start=tmp_path))
    with pytest.raises(UsageError, match=r"wear=0.5 must be from 0 to 1, and 0 without --unchanged"):
        replace(daclip.tiny(), wear=0.5)
    with pytest.raises(UsageError, match=r"keep=0.5 must be from 0 to below 1, and 0 without --start"):
        replace(daclip.tiny(), keep=0.5)


def test_worn_pairs_are_a_share_of_the_degraded_images_and_follow_from_their_numbers():
    pairs = np.random.default_rng(0).integers(0, 256, (40, 2, 3, 32, 32), dtype=np.uint8)
    found = worn_pairs(pairs, 0.5, 100)
    same = (found == pairs).all((2, 3, 4))
    assert same[:, 0].all()
    assert 10 < same[:, 1].sum() < 30
    np.testing.assert_array_equal(worn_pairs(pairs[7:9], 0.5, 107), found[7:9])
    np.testing.assert_array_equal(worn_pairs(pairs, 0.0, 100), pairs)


def test_wear_takes_detail_and_leaves_the_scene():
    drawn = np.asarray(draw_photo(3).resize((64, 64)).convert("RGB")).transpose(2, 0, 1)
    for seed in range(12):
        image = worn(drawn, np.random.default_rng(seed))
        assert image.shape == drawn.shape
        assert image.dtype == np.uint8
        error = np.abs(image.astype(float) - drawn).mean()
        assert 0 < error < 20
        np.testing.assert_allclose(image.mean((1, 2)), drawn.mean((1, 2)), atol=3)


def test_a_run_with_dropout_resumes_exactly(unchanged_run: daclip.DaclipConfig, tmp_path: Path):
    config = replace(unchanged_run, output=tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        saved = daclip.save_checkpoint

        def die_after_saving(*arguments: Any) -> None:
            saved(*arguments)
            raise KeyboardInterrupt

        patch.setattr(daclip, "save_checkpoint", die_after_saving)
        with pytest.raises(KeyboardInterrupt):
            daclip.main(config)
    assert len(lines(config.output, "loss")) == 2
    reset_accelerate()
    daclip.main(config)
    assert lines(config.output, "loss") == lines(unchanged_run.output, "loss")
    ours, theirs = (
        (c.output / "weights" / "model.safetensors").read_bytes() for c in (config, unchanged_run)
    )
    assert ours == theirs


def test_a_texture_stem_trains_on_images_too(photos: tuple[Path, Path], texture_model: str, tmp_path: Path):
    config = replace(
        daclip.tiny(), photos=photos[0], captions=photos[1], output=tmp_path / "run", model=texture_model,
        crop=0.5, size=80, smallest=64, steps=2, batch=6, save_every=2, sample_every=2,
    )  # fmt: skip
    daclip.main(config)
    stem = load_embedder(config.output / "weights", "cpu").model.clip.visual.conv1
    assert not torch.equal(stem.centre, torch.zeros_like(stem.centre))
