"""The gallery of comparisons, and the figure it is saved as."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import restoration, restore_gallery
from app.figures import gallery_figure
from app.restore_session import GalleryRow, RestoreSession
from app.restore_tables import cards, numbers_table
from app.restorers import Choice
from app.session import open_photo
from tests.app.fakes import write_scene
from tests.app.networks import shipped


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RestoreSession]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    with shipped(tmp_path / "weights"):
        session = RestoreSession()
        session.photo = open_photo(write_scene(tmp_path / "scene.png"))
        list(restoration.compare(session, ["nafnet_gends", "swin_gends"], 512))
        yield session


def mark(session: RestoreSession, **values: object) -> None:
    restore_gallery.mark_patch(session, SimpleNamespace(**values))  # pyright: ignore[reportArgumentType]


def test_a_row_holds_every_version_and_the_marked_patch(session: RestoreSession) -> None:
    mark(session, x=0.25, y=0.5, size=0.25)
    status, picture, *buttons = list(restore_gallery.add_row(session))[-1]
    assert "Row 1 added" in status["text"]
    assert picture["visible"]
    assert all(button["interactive"] for button in buttons)
    (row,) = session.gallery
    assert list(row.cells) == ["Input", "NAFNet, existing + GenDS", "Swin, existing + GenDS"]
    assert row.box == (
        0.125,
        pytest.approx(0.5 - 0.25 * 96 / 72 / 4),
        0.25,
        pytest.approx(0.25 * 96 / 72 / 2),
    )
    whole, patch, _ = row.cells["Input"]
    np.testing.assert_array_equal(patch, whole[30:42, 12:36])


@pytest.mark.parametrize("values", [{"x": 2, "y": 0.5, "size": 0.25}, {"x": 0.5, "y": 0.5, "size": 0.3}])
def test_a_forged_patch_is_refused(session: RestoreSession, values: dict[str, float]) -> None:
    before = session.patch
    with pytest.raises(gr.Error, match="outside the picture"):
        mark(session, **values)
    assert session.patch == before


def test_rows_go_and_the_gallery_is_bounded(session: RestoreSession) -> None:
    for _ in range(restore_gallery.MOST_ROWS):
        session.gallery.append(restore_gallery.row_of(session.comparison, session.patch))
    with pytest.raises(gr.Error, match="12 rows"):
        list(restore_gallery.add_row(session))
    restore_gallery.drop_row(session)
    assert len(session.gallery) == restore_gallery.MOST_ROWS - 1
    _, picture, *buttons = restore_gallery.clear(session)
    assert (session.gallery, picture["visible"]) == ([], False)
    assert not any(button["interactive"] for button in buttons)


def test_nothing_compared_means_nothing_added_or_saved() -> None:
    with pytest.raises(gr.Error, match="Compare something first"):
        list(restore_gallery.add_row(RestoreSession()))
    with pytest.raises(gr.Error, match="Compare something first"):
        list(restore_gallery.save_figure(RestoreSession(), "png"))


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_figure_is_one_file(session: RestoreSession, form: str, start: bytes) -> None:
    list(restore_gallery.add_row(session))
    ((update, status),) = [
        (item, path_bytes(item[0]["value"])) for item in restore_gallery.save_figure(session, form)
    ]
    assert Path(update[0]["value"]).name == f"comparison.{form}"
    assert status.startswith(start)


def path_bytes(path: str) -> bytes:
    return Path(path).read_bytes()


def plain(colour: int) -> tuple[np.ndarray, np.ndarray, str]:
    return np.full((60, 90, 3), colour, np.uint8), np.full((10, 20, 3), colour, np.uint8), ""


def test_rows_with_other_networks_leave_a_gap_and_the_clean_photo_comes_last() -> None:
    box = (0.1, 0.1, 0.2, 0.1)
    rows = [
        GalleryRow("a", {"Input": plain(10), "One": plain(60), "Clean": plain(200)}, box),
        GalleryRow("b", {"Input": plain(10), "Two": plain(120)}, box),
    ]
    pixels = gallery_figure(rows, dpi=50)
    height, width, _ = pixels.shape
    columns = [round((0.1 + k * 2.16 + 1.05) * 50) for k in range(4)]  # middle of each column
    first, second = height // 4 + 8, 3 * height // 4 - 10
    values = [[int(pixels[y, x].mean()) for x in columns] for y in (first, second)]
    assert values == [[10, 60, 255, 200], [10, 255, 120, 255]]


def test_what_a_visitor_typed_never_becomes_markup(session: RestoreSession) -> None:
    evil = "<img src=x onerror=alert(1)>"
    comparison = session.comparison
    comparison.versions[1] = type(comparison.versions[1])(**{**vars(comparison.versions[1]), "title": evil})
    assert evil not in numbers_table(comparison)
    assert evil not in cards([Choice("own", "nafnet", "x", evil, (evil,), evil)])


def test_the_figure_shows_dollar_signs_as_they_are() -> None:
    row = GalleryRow("a", {"Your file $x_{1$.pth": plain(10)}, (0.1, 0.1, 0.2, 0.1))
    assert gallery_figure([row], dpi=40).shape[2] == 3


def test_the_saved_figure_can_be_opened(session: RestoreSession) -> None:
    list(restore_gallery.add_row(session))
    for update, _ in restore_gallery.save_figure(session, "png"):
        with Image.open(update["value"]) as image:
            assert image.size[0] > 900
