"""The DA-CLIP losses are those of the papers, views match in both images, runs learn and resume exactly."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gendeg_core.embed.loading import load_embedder
from gendeg_core.types import Degradation
from tests.train.conftest import reset_accelerate
from tests.train.test_resume import start_and_kill
from train import daclip
from train.common.contrast import gathered, symmetric_loss
from train.common.data import as_batch, held_source
from train.common.errors import UsageError
from train.common.views import resized, training_views, training_windows


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


def test_windows_are_parts_of_both_images_as_large_as_they_are():
    draws = torch.Generator().manual_seed(1)
    degraded, clean = training_windows(positions(), 16, draws)
    assert degraded.shape == (6, 3, 16, 16)
    assert torch.equal(degraded, clean)
    steps = (degraded[:, :2, 1:, 1:] - degraded[:, :2, :-1, :-1]) * 255
    torch.testing.assert_close(steps, torch.ones_like(steps))  # one row and one column per pixel
    assert len((degraded[:, :2, 0, 0] * 255).round().unique(dim=0)) > 3


def test_windows_make_room_for_whole_images_at_the_end(photos: tuple[Path, Path]):
    config = replace(daclip.tiny(), window=16, whole=0.25, steps=20)
    task, _ = task_of(config)
    batch = batch_of(config, photos)
    sides = [task.inputs(batch, step, 0)[0].shape[-1] for step in (0, 14, 15, 19)]
    assert sides == [16, 16, 32, 32]


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
    assert "mu_correlation" in logged[60]


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
    degraded, captions, words, clean = task.inputs(batch, 0, 0)
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
    degraded, captions, words, clean = task.inputs(batch, 0, 0)
    features, read = student(degraded, captions, words, clean)
    assert len(captions) == len(features.content) == len(features.clean) == 3
    assert len(words) == len(features.degradation) == 6
    assert torch.isfinite(task.losses(features, read, captions, words, batch["mu"].float()).total)


def test_alignment_pulls_towards_clip_on_the_clean_image(photos: tuple[Path, Path]):
    config = daclip.tiny()
    task, student = task_of(config)
    batch = batch_of(config, photos)
    degraded, captions, words, clean = task.inputs(batch, 0, 0)
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
        ({"window": 40}, "window=40 must be from 0 to the 32 pixels of a pair"),
        ({"whole": -0.1}, "whole=-0.1 from 0 to 1"),
        ({"towers": False}, "frozen towers need weights"),
    ],
)
def test_impossible_options_are_refused(changes: dict, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        replace(daclip.tiny(), **changes)


def test_unknown_models_and_weights_are_refused():
    with pytest.raises(UsageError, match="knows no model 'nothing'"):
        daclip.make_model(replace(daclip.tiny(), model="nothing"))
    with pytest.raises(UsageError, match="window=12 is no multiple of its patches of 8"):
        daclip.make_model(replace(daclip.tiny(), window=12))
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
    assert {"embedded": 3.08e6, "paper": 246.2e6, "wild": 756.8e6}[preset] == pytest.approx(size, rel=0.01)
