"""The Explore tab's handlers: maps opened and computed, points looked up, own photos placed, refusals."""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import embedders, exploration, explore_points, explore_sources
from app.exploration import Page
from app.explore_opening import open_files
from app.explore_session import ExploreSession
from app.explore_sources import Source, shipped_source, short_name
from app.explore_views import numbers_table
from gendeg_core.embed.table import EmbeddingTable, write_table
from tests.app.fakes import write_scene
from tests.app.maps import COUNT, colour_of, installed
from tests.embed.tiny_daclip import tiny_weights

SETTINGS: tuple[Any, ...] = ("degradation", None, "cosine", 0)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    return str(write_scene(tmp_path / "mine.png"))


def event(index: object, star: bool = False) -> Any:
    return SimpleNamespace(index=index, star=star)


def middle_of(source: str) -> tuple[int, ...]:
    """The colour in the middle of an inline picture."""
    picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    pixel = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


def facts(card: dict[str, Any]) -> dict[str, str]:
    return dict(card["rows"])


def test_the_shipped_map_opens_once(folder: Path):
    session = ExploreSession()
    (page,) = exploration.open_shipped(session)
    assert "60 photos, 2 sets" in page.status["text"]
    assert page.map["count"] == COUNT
    shown = session.shown
    (again,) = exploration.open_shipped(session)
    assert session.shown is shown
    assert again == Page()


def test_a_point_has_its_own_pictures_record_and_neighbours(session: ExploreSession):
    card, _ = explore_points.show_point(session, event(13))
    assert [one["title"] for one in card["pictures"]] == ["photo", "clean", "restored"]
    for one, partner in zip(card["pictures"], ("", "clean", "restored"), strict=True):
        np.testing.assert_allclose(middle_of(one["src"]), colour_of(13, partner), atol=4)
    told = facts(card)
    assert told["degradation"] == "rain"
    assert told["mu"] == "asked 0.135, obtained 0.130"
    assert (told["seed"], told["caption"], told["set"]) == ("13", "square number 13", "existing")
    neighbours = [one["index"] for one in card["neighbours"]]
    assert len(neighbours) == 8
    assert 13 not in neighbours
    assert {row % 6 for row in neighbours} == {1}, "the nearest lie in the same cluster"
    np.testing.assert_allclose(middle_of(card["neighbours"][0]["src"]), colour_of(neighbours[0]), atol=4)


def test_a_neighbour_becomes_the_selected_point(session: ExploreSession):
    explore_points.show_point(session, event(13))
    chart, card = explore_points.show_neighbour(session, event(7))
    assert chart["selected"] == session.selected == 7
    assert facts(card)["seed"] == "7"
    with pytest.raises(gr.Error, match="no photo 60"):
        explore_points.show_point(session, event(COUNT))


def test_own_photos_land_on_the_map_with_their_degradation(session: ExploreSession, photo: str):
    box, status, chart, card = list(explore_points.add_photos(session, [photo, photo]))[-1]
    assert box is None
    seen = embedders.look(explore_points.read(Path(photo)).pixels)
    assert f"mine.png is most likely {seen.predicted.replace('_', ' ')} ({seen.score:.2f})" in status["text"]
    assert len(chart["stars"]) == 2
    assert [name for name, _ in card["rows"]][1:] == [kind.replace("_", " ") for kind in seen.scores]
    assert sum(seen.scores.values()) == pytest.approx(1, abs=1e-5)
    shown = session.map()
    explore_points.show_point(session, event(0, star=True))
    assert session.star == 0
    low, high = shown.points.min(0) - 5, shown.points.max(0) + 5
    assert all(low[0] < star.x < high[0] and low[1] < star.y < high[1] for star in shown.stars)
    *_, last = exploration.recompute(session, "content", None, "euclidean", 1)
    assert len(last.map["stars"]) == 2, "they find their places on the new map"
    explore_points.clear_photos(session)
    assert session.map().stars == []


def test_computing_anew_shows_frames_and_the_same_seed_gives_the_same_map(
    session: ExploreSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exploration, "PAUSE", 0)
    monkeypatch.setattr(exploration, "cache_folder", lambda: None)
    session.selected = 4
    pages = list(exploration.recompute(session, "degradation", 8, "cosine", 3))
    shares = [page.status["share"] for page in pages[:-1]]
    assert len(shares) > 20
    assert shares == sorted(shares)
    first = session.map().points.copy()
    assert pages[-1].map["selected"] == 4
    list(exploration.recompute(session, "degradation", 8, "cosine", 3))
    np.testing.assert_array_equal(session.map().points, first)
    list(exploration.recompute(session, "degradation", 5, "cosine", 3))
    assert np.abs(session.map().points - first).max() > 1


def test_a_stopped_map_stays_as_far_as_it_got(session: ExploreSession, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exploration, "PAUSE", 0)
    monkeypatch.setattr(exploration, "cache_folder", lambda: None)
    pages = exploration.recompute(session, *SETTINGS)
    for page in pages:
        if "30 of" in page.status["text"]:
            break
    session.cancels += 1
    rest = list(pages)
    assert rest[-1].status["text"].startswith("Stopped after 30 of 500 iterations")
    assert session.map().iterations == (30, 500)
    assert rest[-1].map["tips"] is not None


def test_a_stop_before_the_first_frame_leaves_the_map(session: ExploreSession):
    before = session.shown
    session.cancels += 1
    session.armed = session.cancels - 1
    *_, page = exploration.recompute(session, *SETTINGS)
    assert page.status["text"] == "Cancelled: the map stays as it was."
    assert session.shown is before


def test_photos_become_a_set_of_their_own_beside_the_map(session: ExploreSession, tmp_path: Path):
    files = [str(write_scene(tmp_path / f"{k}.png", 60 + k, 50)) for k in range(6)]
    *_, page = exploration.open_data(session, files, True, *SETTINGS)
    shown = session.map()
    assert len(shown) == COUNT + 6
    assert set(shown.joined.sets) == {"existing", "GenDS", "own photos"}
    card, _ = explore_points.show_point(session, event(COUNT + 2))
    assert card["title"] == "2.png"
    assert card["pictures"][0]["src"]
    *_, page = exploration.open_data(session, files, False, *SETTINGS)
    assert len(session.map()) == 6
    assert page.map["count"] == 6


def test_photos_of_two_openings_are_two_sets(session: ExploreSession, tmp_path: Path):
    files = [str(write_scene(tmp_path / f"{k}.png", 60 + k, 50)) for k in range(6)]
    for keep, name in ((False, "existing"), (True, ""), (True, ""), (True, " existing ")):
        list(exploration.open_data(session, files, keep, *SETTINGS, name))
    expected = ["existing", "own photos", "own photos 2", "existing 2"]
    assert list(session.map().joined.sets) == [name for name in expected for _ in files]


def test_a_table_shows_photos_of_allowed_folders_only(
    session: ExploreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "inside").mkdir()
    photos = [write_scene(tmp_path / "inside" / f"{k}.png") for k in range(6)]
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (6, 16)).astype(np.float32)
    table = EmbeddingTable([str(path) for path in photos], vectors, vectors, ["rain"] * 6, vectors[:, 0])
    write_table(table, tmp_path / "table.parquet")
    list(exploration.open_data(session, [str(tmp_path / "table.parquet")], False, *SETTINGS))
    assert "--photos" in explore_points.show_point(session, event(0))[0]["missing"]
    monkeypatch.setattr(explore_sources, "roots", [tmp_path / "elsewhere"])
    assert explore_points.show_point(session, event(0))[0]["pictures"] == []
    monkeypatch.setattr(explore_sources, "roots", [tmp_path / "inside"])
    assert explore_points.show_point(session, event(0))[0]["pictures"][0]["title"] == "photo"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": None}, "Nothing was chosen"),
        ({"files": ["notes.txt"]}, "notes.txt is neither a photo nor a Parquet file"),
        ({"perplexity": 0.5}, "perplexity=0.5 is outside 1 to 500"),
        ({"metric": "taxi"}, "unknown metric 'taxi'"),
        ({"column": "style"}, "unknown embedding 'style'"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_unusable_choices_are_one_sentence(session: ExploreSession, changes: dict[str, Any], words: str):
    asked: dict[str, Any] = {"files": ["a.png"], "keep": False, "column": "degradation", "perplexity": None}
    asked |= {"metric": "cosine", "seed": 0} | changes
    before = session.shown
    with pytest.raises(gr.Error) as refused:
        list(exploration.open_data(session, **asked))
    assert words in str(refused.value)
    assert session.shown is before


def test_broken_files_are_named_without_their_folders(session: ExploreSession, tmp_path: Path):
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"^broken.parquet is no Parquet file"):
        list(open_files([tmp_path / "broken.parquet"]))


def test_without_map_and_weights_a_sentence_says_so(folder: Path, photo: str):
    with installed(folder, weights=False, shipped=False):
        session = ExploreSession()
        (page,) = exploration.open_shipped(session)
        assert "No map is installed here yet" in page.status["text"]
        assert "no DA-CLIP weights" in page.status["text"]
        with pytest.raises(gr.Error, match="There is no map yet"):
            list(explore_points.add_photos(session, [photo]))
        with pytest.raises(gr.Error, match="no DA-CLIP weights"):
            list(exploration.open_data(session, [photo], False, *SETTINGS))


def test_photos_of_other_weights_have_no_place_on_the_map(
    session: ExploreSession, photo: str, tmp_path: Path
):
    session.own = str(tiny_weights(tmp_path / "other", seed=1))
    with pytest.raises(gr.Error, match="The map was embedded with daclip@.*, photos here are with other@"):
        list(explore_points.add_photos(session, [photo]))


def test_colours_change_and_the_view_stays(session: ExploreSession):
    before = explore_points.recolour(session, "degradation")
    after = explore_points.recolour(session, "mu")
    assert before["key"] == after["key"]
    assert after["scale"]["high"] == pytest.approx(0.59)
    assert explore_points.recolour(session, "set")["names"] == ["GenDS", "existing"]
    with pytest.raises(gr.Error, match="unknown colour 'smell'"):
        explore_points.recolour(session, "smell")


def test_overlap_is_a_table_of_numbers(session: ExploreSession):
    *_, page = exploration.measure(session)
    numbers = session.map().numbers
    assert numbers is not None
    share = numbers.overlaps["existing", "GenDS"].neighbour_share
    assert f"{share.value:.3f}" in page.numbers
    assert "existing<br>and GenDS" in page.numbers
    assert numbers_table(numbers) == page.numbers


def test_large_data_is_thinned_evenly(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explore_sources, "MOST_POINTS", 20)
    whole = shipped_source()
    (thin,) = explore_sources.within_limit([whole])
    assert isinstance(thin, Source)
    assert len(thin.table) == 20
    rows = [whole.table.path.index(path) for path in thin.table.path]
    assert rows[0] == 0
    assert rows[-1] == COUNT - 1
    assert thin.table.seed is not None
    assert thin.table.seed[7] == rows[7]
    picture = thin.pictures(7, whole=False).picture
    assert picture is not None
    assert picture.getpixel((5, 5)) == colour_of(rows[7])


def test_the_largest_sets_are_thinned_first_and_the_status_says_so(
    session: ExploreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(0)
    sizes = {"large": 400, "middle": 60, "small": 5}
    for name, count in sizes.items():
        vectors = rng.normal(0, 1, (count, 16)).astype(np.float32)
        names = [f"{name}{k}" for k in range(count)]
        table = EmbeddingTable(names, vectors, vectors, ["rain"] * count, vectors[:, 0], set=[name] * count)
        write_table(table, tmp_path / f"{name}.parquet")
    files = [str(tmp_path / f"{name}.parquet") for name in sizes]
    monkeypatch.setattr(explore_sources, "MOST_POINTS", 105)
    *_, page = exploration.open_data(session, files, False, *SETTINGS)
    assert Counter(session.map().joined.sets) == {"large": 50, "middle": 50, "small": 5}
    assert page.status["text"].startswith("105 of 465 photos, 3 sets; embedded with")
    assert "Of large 50 of 400 are shown. Of middle 50 of 60 are shown." in page.status["text"]
    assert "Of small" not in page.status["text"]
    *_, page = exploration.recompute(session, *SETTINGS)
    assert page.status["text"].startswith("105 of 465 photos")


def test_sets_of_one_table_are_thinned_each_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explore_sources, "MOST_POINTS", 20)
    whole = shipped_source().take(np.arange(25, COUNT))
    assert Counter(whole.sets) == {"existing": 5, "GenDS": 30}
    (thin,) = explore_sources.within_limit([whole])
    assert Counter(thin.sets) == {"existing": 5, "GenDS": 15}


def test_names_are_short():
    assert short_name("park/tree.png|haze|0") == "tree.png"
