"""What the generator is told: dropout as published, prompts, cached embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.common.conditioning import describe, dropout_masks
from train.common.prompts import PromptEncoder
from train.common.small_text import caption_tokenizer, small_text_encoder

GOLDEN = Path(__file__).parents[1] / "golden" / "intensity.safetensors"


def test_dropout_agrees_with_the_official_code() -> None:
    golden = load_file(GOLDEN)
    keep_text, keep_image = dropout_masks(golden["in/uniform"], 0.05)
    null = golden["out/context_null"].expand_as(golden["out/context_full"])
    expected = torch.where(keep_text[:, None, None], golden["out/context_full"], null)
    torch.testing.assert_close(expected, golden["out/context_dropout"])
    latent = golden["in/image_latent"] * keep_image[:, None, None, None]
    torch.testing.assert_close(latent, golden["out/c_concat_dropout"])
    # All four rows of the table are among the vectors.
    assert len(set(zip(keep_text.tolist(), keep_image.tolist(), strict=True))) == 4


def test_dropout_shares_are_published() -> None:
    text, image = dropout_masks(torch.rand(200_000, generator=torch.Generator().manual_seed(0)), 0.05)
    shares = [(~text & image), (~text & ~image), (text & ~image), (text & image)]
    assert [share.double().mean().item() for share in shares] == pytest.approx(
        [0.05, 0.05, 0.05, 0.85], abs=2e-3
    )


def test_a_dropped_text_takes_mu_and_sigma_with_it() -> None:
    batch = {
        "caption": ["a mill", "a road", "a dog"],
        "degradation": torch.tensor([0, 3, 5]),
        "mu": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64),
        "sigma": torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64),
    }
    keep_text, keep_caption = torch.tensor([True, False, True]), torch.tensor([True, True, False])
    prompts, mus, sigmas = describe(batch, keep_text, keep_caption)
    assert prompts == ["a mill, in hazy conditions", "", "with raindrops in it"]
    assert mus == [0.1, None, 0.3]
    assert sigmas == [0.01, None, 0.03]


def test_embeddings_are_computed_once_and_do_not_depend_on_their_neighbours() -> None:
    torch.manual_seed(0)
    tokenizer = caption_tokenizer(["a mill", "a mill"])
    encoder, device = small_text_encoder(tokenizer, 32, layers=1).eval(), torch.device("cpu")
    calls = []
    encoder.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    encode = PromptEncoder(tokenizer, encoder, trained=False, limit=2)
    first = encode(["a mill", "", "a mill", "haze"], device)
    assert first.shape == (4, 77, 32)
    assert calls == [1, 1, 1]
    assert torch.equal(first[0], first[2])
    assert list(encode.cache) == ["a mill", "haze"]  # the one not used for longest has left
    assert torch.equal(encode(["haze", "a mill"], device), first[[3, 0]])
    assert calls == [1, 1, 1]
    assert torch.equal(encode([""], device)[0], first[1])
    assert calls == [1, 1, 1, 1]


def test_a_learning_text_encoder_gets_token_ids() -> None:
    tokenizer = caption_tokenizer([])
    encode = PromptEncoder(tokenizer, small_text_encoder(tokenizer, 32, layers=1), trained=True)
    ids = encode(["in hazy conditions"], torch.device("cpu"))
    assert ids.shape == (1, 77)
    assert tokenizer.decode(ids[0][:5]) == "<start> in hazy conditions <end>"
