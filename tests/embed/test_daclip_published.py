"""Checkpoints in the published layout load strictly; anything else is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gendeg_core.embed import published
from gendeg_core.embed.models import build, model_config

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A published size that a test can afford, found by its width like the two others."""
    monkeypatch.setattr(published, "NAMES", ("small", *published.NAMES))
    monkeypatch.setattr(published, "model_config", lambda n: SMALL if n == "small" else model_config(n))


def random_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = build(SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return published.published_state(model)


def save(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"epoch": 30, "name": "run", "state_dict": state, "optimizer": {"state": {}}}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_a_published_checkpoint_loads_strictly(tmp_path: Path, prefix: str):
    state = random_state()
    path = save(tmp_path / "daclip.pt", {prefix + key: value for key, value in state.items()})
    loaded, config = published.load_published(path)
    assert config == SMALL
    again = published.published_state(loaded)
    assert again.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in again.items())
    expected = build(SMALL).eval()
    expected.load_state_dict({key: value for key, value in state.items() if not key.startswith("visual.")})
    image, tokens = torch.randn(1, 3, 32, 32), torch.randint(1, 49408, (2, 77))
    for ours, theirs in zip(loaded.encode_image(image), expected.encode_image(image), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(loaded.encode_text(tokens), expected.encode_text(tokens))  # the causal mask too


def test_weights_in_half_precision_become_float32(tmp_path: Path):
    path = save(tmp_path / "daclip.pt", {key: value.half() for key, value in random_state().items()})
    loaded, _ = published.load_published(path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def without(key: str) -> Callable[[dict], dict]:
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("visual_control.ln_post.bias"), "lacks 1 weights, such as visual_control.ln_post.bias"),
        (lambda s: {**s, "head.weight": torch.zeros(1)}, "has the unknown 1 weights, such as head.weight"),
        (lambda s: {**s, "logit_scale": torch.zeros(2)}, "has the wrong shape of 1 weights, such as logit_s"),
        (lambda s: {**s, "visual.proj": s["visual.proj"] + 1}, "has two versions of the image tower"),
        (without("visual.ln_post.bias"), "has two versions of the image tower .ln_post.bias."),
        (without("clip.visual.class_embedding"), "holds no DA-CLIP of a published size"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, change: Callable[[dict], dict], complaint: str):
    path = save(tmp_path / "daclip.pt", change(random_state()))
    with pytest.raises(ValueError, match=complaint):
        published.load_published(path)


class Surprise:
    def __reduce__(self):
        return print, ("run by the checkpoint",)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"state_dict": Surprise()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="is no checkpoint of tensors"):
        published.load_published(tmp_path / "bad.pt")
    assert capsys.readouterr().out == ""


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    torch.save({"state_dict": [1, 2]}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="holds no state_dict of tensors"):
        published.load_published(tmp_path / "bad.pt")
