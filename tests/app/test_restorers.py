"""Which networks the page offers, and what it says where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from app import restorers
from app.restore_session import RestoreSession
from app.tabs.restore import add_own
from tests.app.networks import SHIPPED, shipped


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[Path]:
    with shipped(tmp_path / "weights") as folder:
        yield folder


def test_the_page_offers_what_is_installed_with_its_training_and_size(weights: Path) -> None:
    choices = restorers.shipped_choices()
    assert [(choice.model, choice.weights) for choice in choices] == list(SHIPPED)
    first = choices[0]
    assert (first.key, first.title) == ("nafnet_existing", "NAFNet, existing data")
    assert first.badges[0] == "existing data"
    assert "0.0 M parameters" in first.badges
    assert "12 steps" in first.badges
    assert "96 crops seen" in first.about
    assert "good for nothing" in first.about


def test_without_weights_a_sentence_says_so(tmp_path: Path) -> None:
    with shipped(tmp_path / "weights", ()):
        assert restorers.shipped_choices() == []
        with pytest.raises(ValueError, match="No restoration networks are installed here yet"):
            restorers.pick(["nafnet_gends"], restorers.shipped_choices())


@pytest.mark.parametrize(
    ("keys", "words"), [([], "tick at least one"), (["nafnet_best"], "unknown network 'nafnet_best'")]
)
def test_a_choice_that_cannot_be_made_is_a_sentence(weights: Path, keys: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        restorers.pick(keys, restorers.shipped_choices())


def test_more_than_six_are_refused(weights: Path) -> None:
    one = restorers.shipped_choices()[0]
    many = [restorers.Choice(f"n{k}", one.model, one.weights, "t", (), "") for k in range(7)]
    with pytest.raises(ValueError, match="at most 6"):
        restorers.pick([choice.key for choice in many], many)
    assert len(restorers.pick([choice.key for choice in many[:6]], many)) == 6


def test_a_network_is_loaded_once(weights: Path) -> None:
    assert restorers.get_restorer("nafnet", "gends") is restorers.get_restorer("nafnet", "gends")


def test_an_own_checkpoint_is_loaded_at_once_and_named(weights: Path) -> None:
    choice = restorers.own_choice(weights / "swin_gends")
    assert (choice.key, choice.title) == ("own", "Your network")
    assert choice.badges[:2] == ("your checkpoint", "Swin")


def test_a_refused_checkpoint_does_not_tell_the_servers_folders(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "cat.pth"
    path.write_bytes(b"meow")
    with pytest.raises(ValueError, match=r"cat\.pth") as caught:
        restorers.own_choice(path)
    assert str(tmp_path) not in str(caught.value)


def test_visitors_checkpoints_do_not_pile_up(weights: Path) -> None:
    for name in ("swin_gends", "nafnet_gends", "nafnet_existing"):
        restorers.own_choice(weights / name)
    restorers.get_restorer("nafnet", "gends")
    own = [key for key in restorers._loaded if key[1] not in restorers.TRAINING_NAMES]
    assert [Path(key[1]).name for key in own] == ["nafnet_gends", "nafnet_existing"]


def test_a_config_with_its_weights_is_a_checkpoint_too(weights: Path) -> None:
    session = RestoreSession()
    files = [
        weights / "nafnet_gends" / name for name in ("config.json", "diffusion_pytorch_model.safetensors")
    ]
    networks, about, status = add_own(session, [str(file) for file in files], ["swin_gends"])
    assert networks["value"] == ["swin_gends", "own"]
    assert session.own.badges[:2] == ("your checkpoint", "NAFNet")
    assert "nothing is known here of how it was trained" in about
    assert status["text"] == "Your network is ticked; press “Restore” to compare it."
    with pytest.raises(gr.Error, match="drop the file first"):
        add_own(session, [], [])


def test_a_seventh_network_takes_the_place_of_the_last_and_the_page_says_so(tmp_path: Path) -> None:
    six = [(model, training) for model in restorers.MODEL_NAMES for training in restorers.TRAINING_NAMES]
    with shipped(tmp_path / "weights", tuple(six)) as folder:
        keys = [f"{model}_{training}" for model, training in six]
        networks, _, status = add_own(RestoreSession(), [str(folder / "nafnet_gends")], keys)
    assert networks["value"] == [*keys[:5], "own"]
    assert networks["choices"][-1][1] == "own"
    assert "Your network is ticked" in status["text"]
    assert "so that Swin, existing + GenDS no longer is" in status["text"]
