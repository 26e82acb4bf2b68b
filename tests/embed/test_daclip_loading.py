"""Weights that were saved come back, images are prepared as published, words name the degradation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision import transforms

from gendeg_core.embed import loading
from gendeg_core.embed.loading import Preprocessing, load_embedder
from gendeg_core.embed.models import build, model_config
from gendeg_core.embed.published import published_state
from gendeg_core.types import Degradation
from tests.embed.tiny_daclip import tiny_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "daclip")


def photos(count: int = 3, size: tuple[int, int] = (50, 41)) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(3))


def test_preparation_is_the_published_one():
    """Against torchvision's own transforms on a photo, odd sides included."""
    pixels = load_sample_image("china.jpg")[:333, :501]
    official = transforms.Compose(
        [
            transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )(Image.fromarray(pixels))
    ours = Preprocessing()(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)
    torch.testing.assert_close(ours, official, rtol=0, atol=1e-6)


def test_images_become_embeddings_of_the_network(folder: Path):
    embedder = load_embedder(folder, "cpu")
    images = photos()
    content, degradation = embedder.embed(images)
    assert content.shape == degradation.shape == (3, 16)
    prepared = torch.stack([embedder.config.preprocessing(image) for image in images])
    with torch.no_grad():
        expected = embedder.model.encode_image(prepared)
    torch.testing.assert_close(content, expected[0])
    torch.testing.assert_close(degradation, expected[1])
    with torch.no_grad():
        plain, _ = embedder.model.encode_image(prepared, control=False)
    assert (content - plain).abs().max() > 1e-3, "the controls are lost"


def test_neither_order_nor_number_of_images_matters(folder: Path, monkeypatch: pytest.MonkeyPatch):
    embedder, images = load_embedder(folder, "cpu"), photos(5)
    together = embedder.embed(images)
    monkeypatch.setattr(loading, "BATCH", 2)
    for whole, part in zip(together, embedder.embed(images), strict=True):
        torch.testing.assert_close(whole, part)
    assert embedder.embed(images[:0])[1].shape == (0, 16)


def test_the_nearest_word_wins(folder: Path):
    embedder = load_embedder(folder, "cpu")
    assert list(embedder.config.words) == [str(kind) for kind in Degradation]
    kinds, score = embedder.classify(7 * embedder.words)  # length means nothing
    assert kinds == list(Degradation)
    assert score.shape == (6,)
    probabilities = embedder.scores(embedder.words)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(6))
    torch.testing.assert_close(probabilities.diagonal(), score)
    assert (score > 1 / 6).all()


def test_identity_follows_the_weights(folder: Path, tmp_path: Path):
    first, other = load_embedder(folder, "cpu"), load_embedder(tiny_weights(tmp_path / "daclip", 1), "cpu")
    assert first.weights.startswith("daclip@")
    assert first.weights == load_embedder(folder, "cpu").weights != other.weights


def test_a_published_checkpoint_opens_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = model_config("gendeg_tiny")
    monkeypatch.setattr("gendeg_core.embed.published.NAMES", ("gendeg_tiny",))
    torch.save({"state_dict": published_state(build(config))}, tmp_path / "daclip_tiny.pt")
    embedder = load_embedder(tmp_path / "daclip_tiny.pt", "cpu")
    assert embedder.weights.startswith("daclip_tiny@")
    assert embedder.config.preprocessing == Preprocessing()
    assert embedder.words.shape == (6, 16)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors; give a folder"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "model.safetensors is damaged"),
    ],
)
def test_damaged_weights_are_refused_in_one_sentence(tmp_path: Path, damage, complaint: str):
    folder = tiny_weights(tmp_path / "daclip")
    damage(folder)
    with pytest.raises(OSError, match=complaint):
        load_embedder(folder, "cpu")


def test_missing_weights_are_named(tmp_path: Path):
    with pytest.raises(OSError, match=r"nowhere has no config.json and no model.safetensors"):
        load_embedder(tmp_path / "nowhere", "cpu")
