"""What the Explore tab takes in and hands out as files: shards, weights, figures, tables, restored photos."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app import (
    exploration,
    explore_files,
    explore_opening,
    explore_points,
    explore_sources,
    restorers,
    shipped_map,
)
from app.explore_opening import open_files
from app.explore_session import ExploreSession
from app.explore_sources import Source
from gendeg_core import cli
from gendeg_core.dataset import run
from gendeg_core.dataset.schema import shard_schema
from gendeg_core.embed.table import read_table
from gendeg_core.types import Degradation
from tests.app.fakes import write_scene
from tests.app.maps import COUNT, installed
from tests.app.networks import shipped
from tests.dataset.stored import pixels, shard_row, write_pair, write_shards
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
    np.testing.assert_array_equal(source.table.mu_asked, [row["mu"] for row in stored])
    np.testing.assert_array_equal(source.table.seed, [row["seed"] for row in stored])
    assert source.table.dataset == [row["sampled_dataset"] for row in stored]
    trio = source.pictures(3, whole=True)
    np.testing.assert_array_equal(trio.picture, pixels(3) // 2)
    np.testing.assert_array_equal(trio.clean, pixels(3))


def test_the_shards_of_a_data_set_are_one_set(folder: Path, tmp_path: Path):
    first, second = (write_shards(tmp_path / name, counts) for name, counts in (("a", (3, 2)), ("b", (2,))))
    files = sorted([*first.rglob("*.parquet"), *second.rglob("*.parquet")], reverse=True)
    *_, sources = open_files(files)
    assert isinstance(sources, list)
    by_name = {source.name: source.table for source in sources}
    assert {name: len(table) for name, table in by_name.items()} == {"train": 2, "train 2": 5}
    assert by_name["train 2"].seed is not None
    assert by_name["train 2"].seed.tolist() == [0, 1, 2, 3, 4]
    assert set(by_name["train 2"].set or []) == {"train 2"}
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet is there twice; open one data set"):
        list(open_files([files[0], *files]))


def test_the_whole_folder_of_a_data_set_can_be_chosen(folder: Path, tmp_path: Path):
    root = write_shards(tmp_path, (3, 2))
    for name in (run.PLAN, run.RUN, "README.md"):
        (root / name).write_bytes(b"no pairs")
    *_, sources = open_files(sorted(path for path in root.rglob("*") if path.is_file()))
    assert isinstance(sources, list)
    assert [(source.name, len(source.table)) for source in sources] == [("train", 5)]
    with pytest.raises(ValueError, match=r"plan.parquet is no Parquet file"):
        list(open_files([root / run.PLAN]))


def test_a_large_data_set_says_how_much_of_it_is_shown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explore_opening, "MOST_EMBEDDED", 6)
    files = [str(path) for path in write_shards(tmp_path, (4, 4, 4)).rglob("*.parquet")]
    session = ExploreSession()
    *_, page = exploration.open_data(session, files, False, "degradation", None, "cosine", 0)
    assert len(session.map()) == 6
    assert "6 of 12 photos, one set, train" in page.status["text"]
    with pytest.raises(ValueError, match="the 12 pairs of train are more than the 6 that are embedded here"):
        list(open_files([Path(file) for file in files], whole=True))


def test_a_shard_that_names_files_of_the_server_is_refused(folder: Path, tmp_path: Path):
    secret = write_scene(tmp_path / "secret.png")
    row = shard_row(0) | {"degraded": {"bytes": None, "path": str(secret)}}
    pq.write_table(pa.Table.from_pylist([row], shard_schema()), tmp_path / "shard.parquet")
    with pytest.raises(ValueError, match="has its images beside the shard; choose shards with images inside"):
        list(open_files([tmp_path / "shard.parquet"]))


@pytest.fixture
def embedded(folder: Path, tmp_path: Path) -> Callable[[Path], Source]:
    """Embeds with the command, in the folder above SRC, and opens the table that it writes."""

    def make(source: Path) -> Source:
        output = tmp_path / "embedded.parquet"
        arguments = ["embed", source.name, "--output", str(output), "--weights", str(folder / "daclip")]
        with contextlib.chdir(source.parent):
            assert cli.main(arguments) == 0
        *_, sources = open_files([output])
        assert isinstance(sources, list)
        return sources[0]

    return make


def test_a_table_of_shards_finds_its_pairs_below_the_shown_folders(
    embedded: Callable[[Path], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = write_shards(tmp_path / "made" / "set", (3, 2), rejected=(1,))
    source = embedded(made)
    assert source.pictures(2, whole=True) == (None, None, None), "no folder may be shown"
    moved = made.rename(tmp_path / "set")
    other = write_shards(tmp_path / "other" / "set", (1,))
    for root in (tmp_path, moved):
        monkeypatch.setattr(explore_sources, "roots", [other.parent, root])
        trio = source.pictures(2, whole=True)  # row 3 of the shards, since row 1 was rejected
        np.testing.assert_array_equal(trio.picture, pixels(3) // 2)
        np.testing.assert_array_equal(trio.clean, pixels(3))
    monkeypatch.setattr(explore_sources, "roots", [other.parent])
    assert source.pictures(2, whole=True).picture is None


def test_a_table_of_pairs_in_folders_finds_both_photos_below_the_shown_folders(
    embedded: Callable[[Path], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_pair(tmp_path / "made" / "rain", "1_a.png", "1.png", 1)
    source = embedded(tmp_path / "made" / "rain")
    monkeypatch.setattr(explore_sources, "roots", [tmp_path / "made" / "rain" / "gt"])
    assert source.pictures(0, whole=True).picture is None
    for root in (tmp_path / "made", tmp_path / "made" / "rain"):
        monkeypatch.setattr(explore_sources, "roots", [root])
        trio = source.pictures(0, whole=True)
        np.testing.assert_array_equal(trio.picture, pixels(1) // 2)
        np.testing.assert_array_equal(trio.clean, pixels(1))


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
    *_, (_, told, _, _) = explore_points.add_photos(session, [photo])
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
