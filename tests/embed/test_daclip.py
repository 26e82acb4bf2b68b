"""DA-CLIP computes what the official code computes, and starts from where CLIP stands."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from safetensors import safe_open

from gendeg_core.embed.daclip import DaCLIP
from gendeg_core.embed.models import build, build_tokenizer, model_config
from gendeg_core.embed.published import published_state
from tests import golden

TOLERANCE = 1e-5  # of the largest value; the official code differs from its own float64 run by as much


@pytest.fixture(scope="module")
def sizes() -> dict:
    with safe_open(golden.HERE / "daclip.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])["net"]


@pytest.fixture(scope="module")
def official(sizes: dict) -> DaCLIP:
    """Our class with the official weights."""
    model = build(sizes)
    model.load_state_dict(golden.official_state("daclip"), strict=True)
    return model.eval()


@torch.no_grad()
def test_embeddings_match_the_official_code(official: DaCLIP):
    stored = golden.load("daclip")
    content, degradation = official.encode_image(stored["in/image"])
    golden.assert_close(content, stored["out/content"], TOLERANCE)
    golden.assert_close(degradation, stored["out/degradation"], TOLERANCE)
    plain, nothing = official.encode_image(stored["in/image"], control=False)
    golden.assert_close(plain, stored["out/plain_content"], TOLERANCE)
    assert nothing is None
    golden.assert_close(official.encode_text(stored["in/tokens"]), stored["out/text"], TOLERANCE)


@torch.no_grad()
def test_controls_match_and_are_consumed_from_the_end(official: DaCLIP):
    stored = golden.load("daclip")
    _, controls = official.encode_degradation(stored["in/image"])
    golden.assert_close(torch.stack(controls).transpose(1, 2), stored["out/controls"], TOLERANCE)
    flipped = official.encode_content(stored["in/image"], controls[::-1])
    golden.assert_close(flipped, stored["out/wrong_same_index_content"], TOLERANCE)
    assert (flipped - stored["out/content"]).abs().max() > 1


@torch.no_grad()
def test_a_training_batch_matches_the_official_code(official: DaCLIP):
    stored = golden.load("daclip")
    tokens = stored["in/tokens"]
    ours = official(stored["in/image"], tokens[:2], tokens[2:], clean=stored["in/image"])
    golden.assert_close(ours.content, stored["out/forward_image_features"], TOLERANCE)
    golden.assert_close(ours.degradation, stored["out/forward_image_degra_features"], TOLERANCE)
    golden.assert_close(ours.caption, stored["out/forward_text_features"], TOLERANCE)
    golden.assert_close(ours.degradation_text, stored["out/forward_text_degra_features"], TOLERANCE)
    golden.assert_close(ours.scale, stored["out/forward_logit_scale"], TOLERANCE)
    plain = stored["out/plain_content"]
    golden.assert_close(ours.clean, plain / plain.norm(dim=-1, keepdim=True), TOLERANCE)


@pytest.mark.parametrize(
    ("name", "total", "controller", "entries"),
    [("daclip_ViT-B-32", 246.2, 94.9, 631), ("daclip_ViT-L-14", 756.8, 329.2, 1087)],
)
def test_published_sizes_have_the_published_counts(name: str, total: float, controller: float, entries: int):
    with torch.device("meta"):
        model = build(model_config(name))
    count = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.visual_control.parameters())
    assert round(count / 1e6, 1) == total
    assert round(trained / 1e6, 1) == controller
    assert len(published_state(model)) == entries


def test_only_the_controller_and_the_scale_are_trained(sizes: dict):
    trained = {name for name, p in build(sizes).named_parameters() if p.requires_grad}
    assert trained == {
        name
        for name, _ in build(sizes).named_parameters()
        if name.startswith("visual_control.") or name == "logit_scale"
    }


@torch.no_grad()
def test_before_training_the_content_is_that_of_clip():
    """Both faults of the original initialisation would change these numbers."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(**model_config("gendeg_tiny"))
    for name in ("weight", "bias"):
        torch.nn.init.normal_(getattr(clip.visual.ln_post, name), 1, 0.5)
    model, image = DaCLIP(clip), torch.randn(2, 3, 32, 32)
    content, degradation = model.encode_image(image)
    torch.testing.assert_close(content, clip.encode_image(image))
    # the controller is a copy, ln_post and all; on some processors sums depend on where its weights lie
    torch.testing.assert_close(degradation, content)
    assert all(not p.any() for p in model.visual_control.transformer.zero_modules.parameters())
    assert torch.equal(model.logit_scale, clip.logit_scale)


def test_every_control_layer_learns_from_the_first_step(sizes: dict):
    model = build(sizes)
    content, _ = model.encode_image(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    content.square().sum().backward()
    for layer in model.visual_control.transformer.zero_modules:
        assert layer.weight.grad.abs().max() > 0


@torch.no_grad()
def test_the_first_images_alone_may_get_content(official: DaCLIP):
    stored = golden.load("daclip")
    tokens = stored["in/tokens"]
    some = official(stored["in/image"], tokens[:1], tokens[2:], clean=stored["in/image"])
    golden.assert_close(some.content, stored["out/forward_image_features"][:1], TOLERANCE)
    golden.assert_close(some.degradation, stored["out/forward_image_degra_features"], TOLERANCE)
    golden.assert_close(some.degradation_text, stored["out/forward_text_degra_features"], TOLERANCE)
    assert len(some.clean) == len(some.caption) == 1


@torch.no_grad()
def test_repeated_texts_are_embedded_alike_and_in_their_places(official: DaCLIP):
    stored = golden.load("daclip")
    tokens, image = stored["in/tokens"], stored["in/image"]
    mixed = official(image, tokens[[0]], tokens[[3, 2]])
    expected = official.encode_text(tokens)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    golden.assert_close(mixed.degradation_text, expected[[3, 2]], TOLERANCE)
    same = official(image, tokens[[0]], tokens[[0, 0]])
    golden.assert_close(same.degradation_text, expected[[0, 0]], TOLERANCE)
    golden.assert_close(same.caption, expected[[0]], TOLERANCE)


def test_a_convolutional_tower_is_refused():
    clip = open_clip.CLIP(
        8,
        {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
        {"context_length": 8, "vocab_size": 520, "width": 8, "heads": 1, "layers": 1},
    )
    with pytest.raises(ValueError, match="needs a Vision Transformer as image tower, not ModifiedResNet"):
        DaCLIP(clip)


def test_open_clip_knows_our_names():
    assert model_config("gendeg_small")["vision_cfg"]["layers"] == 1
    assert "daclip_ViT-B-32" in open_clip.list_models()
    assert open_clip.get_tokenizer("gendeg_small").context_length == 40
    with pytest.raises(
        ValueError, match="knows no model 'ViT-B-23'; choose one of its own, or daclip_ViT-B-32"
    ):
        model_config("ViT-B-23")


def test_a_small_vocabulary_still_writes_every_word():
    config = model_config("gendeg_tiny")
    tokenizer, whole = build_tokenizer(config), open_clip.get_tokenizer("ViT-B-32")
    text = "a zebra beside the lake, motion-blurry"
    tokens = tokenizer(text)
    assert tokens.shape == (1, 24)
    assert tokens.max() == tokenizer.eot_token_id == 1023
    assert tokens[0, 0] == 1022
    assert tokenizer.encode("the lake") != tokenizer.encode("the sea")
    assert tokenizer.decode(tokenizer.encode(text)).strip() == whole.decode(whole.encode(text)).strip()
    everything = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": 49408, "context_length": 77}}
    assert torch.equal(build_tokenizer(everything)(text), whole(text))
    with pytest.raises(ValueError, match="vocab_size=300 is outside 514 to 49408"):
        build_tokenizer({"text_cfg": {"vocab_size": 300, "context_length": 8}})
