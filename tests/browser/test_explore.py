"""The Explore tab as a visitor walks it: a known point is clicked and shows its own picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from app import exploration
from tests.app.fakes import SlowEngine, write_scene
from tests.app.maps import COUNT, colour_of, installed
from tests.app.serving import serving

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, slow_engine: SlowEngine) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gradio")
    with installed(folder / "explore"), serving(folder, slow_engine) as address:
        yield address


def open_tab(page: Any) -> Any:
    page.get_by_role("tab", name="Explore").click()
    wait_status(page, f"{COUNT} photos")
    page.wait_for_function(
        "count => document.querySelector('#explore_map canvas')?.__state().count === count", arg=COUNT
    )
    return page


def wait_status(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#explore_status .text').textContent.includes(words)", arg=words
    )


def state(page: Any) -> dict[str, Any]:
    return page.evaluate("document.querySelector('#explore_map canvas').__state()")


def click(page: Any, call: str) -> None:
    """Click where the map says that something lies."""
    page.locator("#explore_map canvas").scroll_into_view_if_needed()
    x, y = page.evaluate(f"document.querySelector('#explore_map canvas').{call}")
    box = page.locator("#explore_map canvas").bounding_box()
    page.mouse.click(box["x"] + 1 + x, box["y"] + 1 + y)


def wait_title(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#explore_card h3')?.textContent.includes(words)", arg=words
    )


def colours(page: Any) -> list[list[int]]:
    """The colour in the middle of every large picture on the card."""
    return page.evaluate(
        """async () => {
          const found = [];
          for (const image of document.querySelectorAll('#explore_card figure img')) {
            await image.decode();
            const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext('2d');
            pen.drawImage(image, image.naturalWidth / 2, image.naturalHeight / 2, 1, 1, 0, 0, 1, 1);
            found.push([...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
          }
          return found;
        }"""
    )


def test_a_click_on_a_known_point_shows_its_picture_and_partners(page: Any) -> None:
    open_tab(page)
    for row in (13, 40):
        click(page, f"__pt({row})")
        wait_title(page, f"square{row}_")
        shown = colours(page)
        assert len(shown) == 3
        for colour, partner in zip(shown, ("", "clean", "restored"), strict=True):
            np.testing.assert_allclose(colour, colour_of(row, partner), atol=5)
        assert f"square number {row}" in page.inner_text("#explore_card dl")


def test_a_neighbour_is_clicked_and_ringed_on_the_map(page: Any) -> None:
    open_tab(page)
    click(page, "__pt(13)")
    wait_title(page, "square13_")
    assert page.locator("#explore_card .card-neighbours button").count() == 8
    page.locator("#explore_card .card-neighbours button").first.click()
    page.wait_for_function("document.querySelector('#explore_map canvas').__state().selected !== 13")
    row = state(page)["selected"]
    assert row % 6 == 1
    wait_title(page, f"square{row}_")


def test_a_dropped_photo_lands_on_the_map(page: Any, photo: Path) -> None:
    open_tab(page)
    page.locator("#explore_photos input[type=file]").set_input_files(photo)
    wait_status(page, "scene.png is most likely")
    wait_title(page, "scene.png")
    assert page.locator("#explore_card dl dt").count() == 7
    click(page, "__pt(3)")
    wait_title(page, "square3_")
    click(page, "__star(0)")
    wait_title(page, "scene.png")


def test_colours_keep_the_view_and_a_new_map_is_computed(page: Any) -> None:
    open_tab(page)
    page.locator("#explore_map").get_by_role("button", name="zoom in").click()
    scale = state(page)["scale"]
    page.locator("#explore_colour").get_by_role("radio", name="strength (mu)").check()
    page.wait_for_selector("#explore_map .map-scale")
    assert state(page)["scale"] == scale
    before = page.evaluate("document.querySelector('#explore_map canvas').__pt(5)")
    page.locator("#explore_settings_box").get_by_text("How the map is made").click()
    page.locator("#explore_perplexity input").fill("7")
    page.locator("#explore_perplexity input").blur()
    page.click("#explore_recompute")
    page.wait_for_function(
        "before => document.querySelector('#explore_map canvas').__pt(5)[0] !== before[0]", arg=before
    )
    wait_status(page, f"{COUNT} photos")
    page.wait_for_selector("#explore_numbers table")
    assert "existing" in page.inner_text("#explore_numbers thead")


def test_an_uploaded_folder_is_a_set_of_its_name(page: Any, tmp_path: Path) -> None:
    (tmp_path / "rainy days").mkdir()
    for k in range(3):
        write_scene(tmp_path / "rainy days" / f"{k}.png", 60 + k, 50)
    open_tab(page)
    page.get_by_text("Open other data").click()
    page.get_by_label("Beside what is on the map").check()
    for name in ("rainy days", "rainy days 2"):
        page.locator("#explore_data_box input[webkitdirectory]").set_input_files(tmp_path / "rainy days")
        wait_status(page, f"{COUNT + (6 if name.endswith('2') else 3)} photos")
        page.locator("#explore_colour").get_by_role("radio", name="set", exact=True).check()
        page.wait_for_function(
            "name => [...document.querySelectorAll('#explore_map button')]"
            ".some(one => one.innerText.includes(name))",
            arg=name,
        )


def test_stop_leaves_the_map_as_far_as_it_got(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = exploration.project

    def slow(*arguments: Any, **_: Any) -> Iterator[Any]:
        for frame in frames(*arguments):
            time.sleep(0.1)
            yield frame

    open_tab(page)
    monkeypatch.setattr(exploration, "project", slow)
    page.locator("#explore_settings_box").get_by_text("How the map is made").click()
    page.click("#explore_recompute")
    wait_status(page, "of 500 iterations")
    page.click("#explore_stop")
    wait_status(page, "Stopped after")
    click(page, "__pt(13)")
    wait_title(page, "square13_")


def test_the_map_is_saved_as_coordinates_and_as_a_figure(page: Any, tmp_path: Path) -> None:
    open_tab(page)
    page.locator("#explore_save_box").get_by_text("Save", exact=True).first.click()
    files = {}
    for kind in ("coordinates, Parquet", "figure, PDF"):
        page.locator("#explore_kind input").click()
        page.get_by_role("option", name=kind).click()
        with page.expect_download() as download:
            page.click("#explore_save")
        name = download.value.suggested_filename
        download.value.save_as(tmp_path / name)
        files[name] = (tmp_path / name).read_bytes()
    assert set(files) == {"map.parquet", "map_degradation.pdf"}
    assert files["map_degradation.pdf"].startswith(b"%PDF")
    saved = pq.read_table(tmp_path / "map.parquet")
    assert saved.num_rows == COUNT
    assert {"x", "y", "predicted", "mu"} <= set(saved.column_names)


def test_it_fits_a_phone_with_the_map_before_the_controls(open_page: Callable[..., Any]) -> None:
    page = open_tab(open_page(viewport=PHONE))
    click(page, "__pt(13)")
    wait_title(page, "square13_")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    tops = [page.locator(name).bounding_box()["y"] for name in ("#explore_map", "#explore_photos")]
    assert tops == sorted(tops)
