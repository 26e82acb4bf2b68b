"""The whole Synthesize path as a visitor walks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.session import small_copy
from gendeg_core.images import read_photo, read_settings
from gendeg_core.statistics import to_uint8
from gendeg_core.synthesize import SimulatorEngine, degrade
from gendeg_core.types import Degradation, DegradationRequest
from tests.app.fakes import SlowEngine
from tests.browser import actions

pytestmark = pytest.mark.browser


def test_the_first_view_shows_an_example_already_degraded(page: Any) -> None:
    before, after = actions.pictures(page)
    assert before.shape == after.shape == (256, 384, 3)
    assert np.abs(before.astype(int) - after).mean() / 255 == pytest.approx(0.2, abs=0.05)
    assert actions.obtained(page)[0] == pytest.approx(0.2, abs=0.02)
    assert page.input_value("#caption textarea") == "a pagoda on a hill above a lake"


def test_own_photo_degradation_and_typed_strength(page: Any, photo: Path) -> None:
    page.fill("#caption textarea", "my own words")
    shown = actions.after_source(page)
    page.locator("#photo input[type=file]").set_input_files(photo)
    actions.wait_new_picture(page, shown)
    assert page.input_value("#caption textarea") == "my own words"
    shown = actions.after_source(page)
    page.get_by_role("radio", name="low light").check()
    actions.wait_new_picture(page, shown)
    actions.type_number(page, "mu", 0.25)
    actions.wait_asked(page, 0.25, 0.1)
    request = DegradationRequest(Degradation.LOW_LIGHT, 0.25, 0.1, 7, "my own words")
    clean = small_copy(Image.open(photo), 256)
    expected = degrade(clean, request, SimulatorEngine())
    np.testing.assert_array_equal(actions.pictures(page)[1], to_uint8(expected.degraded))
    assert actions.obtained(page) == [round(expected.mu_obtained, 3), round(expected.sigma_obtained, 3)]
    assert page.locator("#heat img").evaluate("image => image.naturalWidth") == 600


def test_a_picture_is_pasted_from_the_clipboard(context: Any, url: str, page: Any) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url.rstrip("/"))
    page.evaluate(
        """async () => {
          const canvas = Object.assign(document.createElement('canvas'), { width: 300, height: 280 });
          canvas.getContext('2d').fillRect(60, 60, 120, 90);
          const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
          await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
        }"""
    )
    page.get_by_label("Paste from clipboard").click()
    actions.wait_status(page, "Preview at 274 × 256 pixels")


def test_a_click_on_the_pad_moves_both_sliders_and_the_picture(page: Any) -> None:
    pad = page.locator("#pad canvas")
    pad.scroll_into_view_if_needed()
    x, y = pad.evaluate("(canvas, at) => canvas.__pt(...at)", [0.35, 0.2])
    pad.click(position={"x": x, "y": y})
    step = 0.7 / pad.evaluate("canvas => canvas.clientWidth")  # what one pixel means
    page.wait_for_function("document.querySelector('#mu input[type=number]').value > 0.3")
    mu, sigma = actions.number(page, "mu"), actions.number(page, "sigma")
    assert (mu, sigma) == (pytest.approx(0.35, abs=2 * step), pytest.approx(0.2, abs=2 * step))
    actions.wait_asked(page, mu, sigma)
    pad.press("ArrowRight")
    actions.wait_asked(page, mu + 0.005, sigma)
    pad.press("Shift+ArrowUp")
    actions.wait_asked(page, mu + 0.005, sigma + 0.05)
    assert f"mu={actions.number(page, 'mu'):g}" in page.url


def test_dragging_ends_on_the_last_value(page: Any) -> None:
    pad = page.locator("#pad canvas")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    start = pad.evaluate("canvas => canvas.__pt(0.1, 0.05)")
    end = pad.evaluate("canvas => canvas.__pt(0.4, 0.15)")
    page.mouse.move(box["x"] + start[0], box["y"] + start[1])
    page.mouse.down()
    for share in np.linspace(0, 1, 15):
        page.mouse.move(
            box["x"] + start[0] + share * (end[0] - start[0]),
            box["y"] + start[1] + share * (end[1] - start[1]),
        )
    page.mouse.up()
    page.wait_for_function("Math.abs(document.querySelector('#mu input[type=number]').value - 0.4) < 0.01")
    actions.wait_asked(page, actions.number(page, "mu"), actions.number(page, "sigma"))


def test_the_slider_drives_the_pad(page: Any) -> None:
    actions.type_number(page, "mu", 0.5)
    actions.wait_asked(page, 0.5, 0.1)
    assert "strength 0.500" in page.get_attribute("#pad canvas", "aria-valuetext")


def test_another_degradation_moves_the_sliders_to_where_it_has_pictures(page: Any) -> None:
    page.get_by_role("radio", name="raindrop").check()
    page.wait_for_function("document.querySelector('#mu input[type=number]').value != 0.2")
    mu, sigma = actions.number(page, "mu"), actions.number(page, "sigma")
    assert mu < 0.1
    assert f"strength {mu:.3f}" in page.get_attribute("#pad canvas", "aria-valuetext")
    actions.wait_asked(page, mu, sigma)
    page.get_by_role("radio", name="rain", exact=True).check()  # which has pictures like these
    actions.wait_status(page, "Preview")
    assert (actions.number(page, "mu"), actions.number(page, "sigma")) == (mu, sigma)


def test_surprise_and_new_seed_draw_something_else(page: Any) -> None:
    former = actions.number(page, "mu"), actions.number(page, "sigma")
    page.click("#surprise")
    page.wait_for_function("document.querySelector('#mu input[type=number]').value != 0.2")
    drawn = actions.number(page, "mu"), actions.number(page, "sigma")
    assert drawn != former
    actions.wait_asked(page, *drawn)
    shown = actions.after_source(page)
    page.click("#reseed")
    actions.wait_new_picture(page, shown)
    assert actions.number(page, "seed") != 7


def test_a_sweep_fills_its_grid_and_a_tile_becomes_the_setting(page: Any) -> None:
    page.click("#run_sweep")
    actions.wait_status(page, "20 pictures in")
    tiles = page.locator("#sweep .tile")
    assert tiles.count() == 20
    assert page.locator("#sweep .tile img").count() == 20
    assert page.locator("#sweep .head").count() == 1 + 5 + 4
    tiles.nth(19).click()
    mu = float(tiles.nth(19).locator("img").get_attribute("alt").split("mu ")[1].split(",")[0])
    page.wait_for_function("mu => Math.abs(document.querySelector('#mu input').value - mu) < 1e-6", arg=mu)
    actions.wait_asked(page, mu, actions.number(page, "sigma"))


def test_cancelling_a_sweep_stops_it_and_says_so(page: Any, slow_engine: SlowEngine) -> None:
    page.get_by_role("radio", name="GenDeg").check()
    actions.wait_status(page, "slow-test-engine")
    closed = slow_engine.closed
    page.click("#run_sweep")
    page.wait_for_function("document.querySelectorAll('#sweep .tile img').length >= 2")
    page.click("#cancel")
    actions.wait_status(page, "Cancelled after")
    kept = page.locator("#sweep .tile img").count()
    assert 2 <= kept < 20
    assert slow_engine.closed == closed + 1
    started = slow_engine.started
    page.wait_for_timeout(700)
    assert slow_engine.started == started
    actions.type_number(page, "mu", 0.3)  # the app goes on working
    actions.wait_asked(page, 0.3, 0.1)


def test_all_six_have_names_and_numbers(page: Any) -> None:
    page.get_by_role("tab", name="All six at once").click()
    page.click("#run_six")
    actions.wait_status(page, "6 pictures in")
    assert page.locator("#six .tile .title").all_inner_texts() == [kind.label for kind in Degradation]
    assert all("obtained" in note for note in page.locator("#six .tile .note").all_inner_texts())
    page.locator("#six .tile").nth(4).click()
    page.wait_for_function("document.querySelector('#degradation input:checked').value === 'low_light'")


def test_the_file_is_full_size_and_carries_its_settings(page: Any, tmp_path: Path) -> None:
    page.locator("#examples button").nth(3).click()
    page.wait_for_function("document.querySelector('#caption textarea').value.includes('street')")
    actions.wait_status(page, "Preview at")
    with page.expect_download() as download:
        page.click("#render")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "street_haze_mu0.20_sigma0.10_seed7.png"
    assert tuple(read_photo(path).pixels.shape) == (3, 480, 720)
    settings = read_settings(path)
    assert (settings["degradation"], settings["mu"], settings["sigma"], settings["seed"]) == (
        "haze",
        0.2,
        0.1,
        7,
    )
    assert settings["mu_obtained"] == pytest.approx(0.2, abs=0.02)


def test_a_wrong_file_is_answered_with_a_sentence_and_the_photo_stays(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("these are notes, not a picture")
    page.locator("#photo input[type=file]").set_input_files(tmp_path / "notes.png")
    actions.wait_status(page, "notes.png is not an image this program reads")
    page.locator(".toast-body", has_text="notes.png is not an image").wait_for()
    shown = actions.after_source(page)
    actions.type_number(page, "mu", 0.15)
    actions.wait_new_picture(page, shown)
    assert actions.pictures(page)[0].shape == (256, 384, 3)


def test_an_address_carries_the_settings(open_page: Callable[..., Any]) -> None:
    page = open_page("degradation=snow&mu=0.12&sigma=0.11&seed=99&engine=simulator")
    actions.wait_asked(page, 0.12, 0.11)
    assert page.locator("#degradation input:checked").input_value() == "snow"
    assert actions.number(page, "seed") == 99


def test_an_unusable_address_is_explained(open_page: Callable[..., Any]) -> None:
    page = open_page("mu=7&engine=simulator")
    page.get_by_text("The link has an unusable setting").first.wait_for()
    actions.wait_asked(page, 0.2, 0.1)


def test_two_visitors_keep_their_own_photos(open_page: Callable[..., Any], photo: Path) -> None:
    first, second = open_page(), open_page()
    shown = actions.after_source(first)
    first.locator("#photo input[type=file]").set_input_files(photo)
    actions.wait_new_picture(first, shown)
    actions.type_number(second, "mu", 0.3)
    actions.wait_asked(second, 0.3, 0.1)
    assert actions.pictures(first)[0].shape[:2] == (256, 313)
    assert actions.pictures(second)[0].shape[:2] == (256, 384)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Callable[..., Any], theme: str) -> None:
    page = open_page(f"engine=simulator&__theme={theme}", {"width": 390, "height": 844})
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    for name in ("photo", "mu", "compare", "pad", "readout", "render"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["width"] >= 250
    order = [page.locator(f"#{name}").bounding_box()["y"] for name in ("photo", "mu", "compare", "pad")]
    assert order == sorted(order)
