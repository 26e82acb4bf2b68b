"""What the Explore tab takes in and hands out as files: shards, weights, figures, tables, restored photos."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import numpy as np
import pyarrow.parquet as pq
import pytest

from app import exploration, explore_files, explore_sources, restorers, shipped_map
from app.explore_session import ExploreSession
from app.explore_sources import open_files
from gendeg_core.embed.table import read_table
from gendeg_core.types import Degradation
from tests.app.fakes import write_scene
from tests.app.maps import COUNT, installed
from tests.app.networks import shipped
from tests.dataset.stored import pixels, shard_row, write_shards
from tests.embed.tiny_daclip import tiny_weights


def test_shards_bring_their_pairs_and_what_was_asked(folder: Path, tmp_path: Path):
    (shard,) = (write_shards(tmp_path, (6,)) / "data").glob("*.parquet")
    *_, sources = open_files([shard])
    assert isinstance(sources, list)
    (source,) = sources
    stored = [shard_row(number) for number in range(6)]
    assert list(source.table.path) == [row["item_id"] for row in stored]
    assert source.table.label == [row["degradation"] for row in stored]
    np.testing.assert_allclose(source.table.mu, [row["mu_obtained"] for row in stored])
    assert source.facts[3]["mu_asked"] == stored[3]["mu"]
    assert source.facts[3]["seed"] == stored[3]["seed"]
    trio = source.pictures(3, whole=True)
    np.testing.assert_array_equal(trio.picture, pixels(3) // 2)
    np.testing.assert_array_equal(trio.clean, pixels(3))


@pytest.mark.parametrize("kind", explore_files.KINDS)
def test_every_kind_of_file_holds_the_map(session: ExploreSession, tmp_path: Path, kind: str):
    shown = session.map()
    path = explore_files.write_file(shown, kind, "mu", tmp_path)
    if kind == "coordinates":
        saved = pq.read_table(path)
        np.testing.assert_array_equal(saved["x"].to_numpy(), shown.points[:, 0])
    elif kind == "embeddings":
        np.testing.assert_array_equal(read_table(path).degradation, shown.joined.table.degradation)
    else:
        assert path.name == f"map_mu.{kind}"
        head = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
        assert path.read_bytes().startswith(head)


def test_saved_embeddings_open_again(session: ExploreSession, tmp_path: Path):
    path = explore_files.write_file(session.map(), "embeddings", "set", tmp_path)
    fresh = ExploreSession()
    list(exploration.open_data(fresh, [str(path)], False, "degradation", None, "cosine", 0))
    assert len(fresh.map()) == COUNT
    assert set(fresh.map().joined.sets) == {"existing", "GenDS"}


def test_an_unknown_kind_of_file_is_refused(session: ExploreSession):
    with pytest.raises(gr.Error, match="unknown kind of file 'exe'"):
        list(explore_files.save(session, "exe"))


def test_weights_of_ones_own_are_known_by_what_is_in_them(session: ExploreSession, tmp_path: Path):
    """The same weights under another folder fit the map; config and tensors may come in any order."""
    own = tmp_path / "mine"
    tiny_weights(own)
    files = [str(own / name) for name in ("model.safetensors", "config.json")]
    _, status = explore_files.add_weights(session, files)
    assert session.map().joined.table.weights in status["text"]
    photo = str(write_scene(tmp_path / "photo.png"))
    *_, (_, told, _, _) = exploration.add_photos(session, [photo])
    assert "most likely" in told["text"]


def test_weights_that_are_none_are_refused(session: ExploreSession, tmp_path: Path):
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(gr.Error) as refused:
        explore_files.add_weights(session, [str(tmp_path / "weights.pt")])
    assert str(tmp_path) not in str(refused.value)
    assert session.own is None


def test_the_selected_photo_is_restored(session: ExploreSession, tmp_path: Path):
    with shipped(tmp_path / "networks"):
        with pytest.raises(gr.Error, match="No photo is selected"):
            list(explore_files.restore_selected(session))
        session.selected = 13
        *_, (status, card) = explore_files.restore_selected(session)
    assert "existing + GenDS" in status["text"]
    assert [one["title"] for one in card["pictures"]][:2] == ["photo", "clean"]
    assert card["pictures"][2]["title"].startswith("restored by ")


def test_the_shipped_map_is_made_of_pictures_free_to_pass_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(shipped_map, "SIDE", 64)
    monkeypatch.setattr(restorers, "shipped_choices", list)
    arguments = ["--output", str(tmp_path), "--squares", "1", "--versions", "1", "--engines", "simulator"]
    assert shipped_map.main(arguments) == 0
    assert "24 photos" in capsys.readouterr().out
    source = explore_sources.shipped_source(tmp_path)
    table = source.table
    assert set(table.set or []) == {"photos, simulated", "drawings, simulated"}
    assert sorted(set(table.label or [])) == sorted(Degradation)
    assert source.points is not None
    assert np.isfinite(source.points).all()
    trio = source.pictures(5, whole=True)
    assert trio.picture is not None
    assert trio.clean is not None
    assert trio.restored is None, "no restorer is installed in this test"
    changed = np.abs(np.asarray(trio.picture, float) - np.asarray(trio.clean, float)).mean() / 255
    assert changed == pytest.approx(float(np.asarray(table.mu)[5]), abs=0.05)
    record = json.loads((tmp_path / "record.json").read_text())
    assert "CC BY 2.0" in record["licence"]
    assert record["restorer"] is None


def test_the_maker_needs_weights(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with installed(folder, weights=False):
        assert shipped_map.main(["--output", str(tmp_path), "--squares", "1", "--engines", "simulator"]) == 1
    assert "no DA-CLIP weights" in capsys.readouterr().err
