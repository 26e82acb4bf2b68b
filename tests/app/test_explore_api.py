"""The endpoints of the Explore tab through `gradio_client`: photos to a table to a map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app import embedders, explore_api, explore_sources
from app.explore_sources import shipped_source
from app.session import read
from gendeg_core.embed.table import read_table
from tests.app.fakes import SlowEngine, write_scene
from tests.app.maps import installed
from tests.app.serving import serving


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("gradio")
    with installed(folder / "explore"), serving(folder, SlowEngine(steps=1)) as url:
        yield Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [write_scene(tmp_path / f"{k}.png", 60 + 9 * k, 50) for k in range(6)]


def test_photos_become_a_table_and_the_table_a_map(client: Client, photos: list[Path]):
    path, records = client.predict([handle_file(str(photo)) for photo in photos], api_name="/embed")
    table = read_table(Path(path))
    assert list(table.path) == [record["photo"] for record in records] == [photo.name for photo in photos]
    expected = embedders.look(read(photos[2]).pixels)
    np.testing.assert_allclose(table.degradation[2], expected.degradation, rtol=1e-5, atol=1e-5)
    assert records[2]["predicted"] == expected.predicted
    coordinates, figure, record = client.predict([handle_file(path)], perplexity=1.5, api_name="/project")
    assert pq.read_table(coordinates).column("path").to_pylist() == list(table.path)
    assert Path(figure).read_bytes().startswith(b"\x89PNG")
    assert (record["photos"], record["weights"]) == (6, expected.weights)
    assert "6 photos are fewer than 20" in record["remarks"][0]


def test_a_photo_finds_its_place(client: Client, photos: list[Path]):
    record = client.predict(handle_file(str(photos[0])), api_name="/place")
    expected = embedders.look(read(photos[0]).pixels)
    assert record["scores"] == pytest.approx(expected.scores, abs=1e-5)
    rows = shipped_source().table
    cosines = rows.degradation @ expected.degradation
    cosines /= np.linalg.norm(rows.degradation, axis=1) * np.linalg.norm(expected.degradation)
    assert [near["photo"] for near in record["neighbours"]] == [
        rows.path[k] for k in np.argsort(-cosines, kind="stable")[:8]
    ]


def test_no_photo_is_left_out(client: Client, photos: list[Path], monkeypatch: pytest.MonkeyPatch):
    files = [handle_file(str(photo)) for photo in photos]
    monkeypatch.setattr(explore_sources, "MOST_POINTS", 5)
    monkeypatch.setattr(explore_api, "MOST_POINTS", 5)
    path, records = client.predict(files, api_name="/embed")
    assert len(records) == len(read_table(Path(path))) == 6
    with pytest.raises(AppError, match="6 rows are more than the 5 that are mapped here"):
        client.predict([handle_file(path)], api_name="/project")


def test_refusals_are_one_sentence(client: Client, photos: list[Path]):
    for arguments, api_name, words in (
        ((None,), "/place", "no file was given"),
        (
            ([handle_file(str(photos[0]))], "degradation", 999),
            "/project",
            "perplexity=999.0 is outside 1 to 500",
        ),
        (([handle_file(str(photos[0]))],), "/project", "a map needs 5 photos or more"),
    ):
        with pytest.raises(AppError) as refused:
            client.predict(*arguments, api_name=api_name)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
