"""The head start of the small text encoder."""

from __future__ import annotations

import torch

from gendeg_core.types import Degradation, prompt
from tests.generate.tiny import shipped_kind
from train.common.gendeg_components import Components
from train.common.text_start import teach_degradations


def parts() -> Components:
    p = shipped_kind()
    return Components(p.vae, p.text_encoder, p.tokenizer, p.unet, p.scheduler, p.intensity, {})


def conditions(p: Components) -> torch.Tensor:
    prompts = [prompt("a red house by the lake", d) for d in Degradation]
    tokens = p.tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        stats = p.intensity.encode([0.1] * 6, [0.1] * 6)
        return p.unet.context(p.intensity(p.text_encoder(tokens)[0], stats))


def test_afterwards_the_phrases_are_far_apart_in_the_condition():
    p = parts()
    before = torch.pdist(conditions(p)).min()
    error = teach_degradations(p, ["a red house by the lake"], steps=150, seed=0)
    assert error < 0.3
    assert torch.pdist(conditions(p)).min() > 3 * before


def test_the_same_seed_teaches_the_same():
    first, second, other = parts(), parts(), parts()
    for p, seed in ((first, 1), (second, 1), (other, 2)):
        teach_degradations(p, [], steps=3, seed=seed)
    assert torch.equal(conditions(first), conditions(second))
    assert not torch.equal(conditions(first), conditions(other))
