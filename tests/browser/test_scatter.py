"""The map of photos on a page of its own: points are found by the widget's test hook and clicked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import gradio as gr
import numpy as np
import pytest

from app.widgets.scatter import Scatter, picked, scatter_value

pytestmark = pytest.mark.browser

COUNT = 10_000
KINDS = ("haze", "rain", "snow", "motion_blur", "low_light", "raindrop")
STAR = (2.0, -3.0, "my photo: rain 0.91")


def scene() -> tuple[np.ndarray, list[str]]:
    """Six clouds; point 7 lies alone at the far right, in no cloud."""
    rng = np.random.default_rng(0)
    kinds = np.arange(COUNT) % 6
    angles = kinds * np.pi / 3
    points = 30 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 5 * rng.normal(0, 1, (COUNT, 2))
    points[7] = [60, 0]
    return points, [KINDS[kind] for kind in kinds]


def page_of_its_own() -> gr.Blocks:
    points, kinds = scene()
    tips = [f"photo {k}.png" for k in range(COUNT)]
    mu = np.linspace(0, 0.7, COUNT)
    mu[5] = np.nan
    value = scatter_value(points, kinds, tips=tips, stars=[STAR], key="first")
    with gr.Blocks(analytics_enabled=False) as demo:
        chart = Scatter(value, elem_id="map")
        said = gr.Textbox(elem_id="said")
        by_mu, grown, other = (gr.Button(name, elem_id=name) for name in ("by_mu", "grown", "other"))

        def tell(event: gr.EventData) -> str:
            index, star = picked(event, COUNT, 1)
            return f"star {index}" if star else f"point {index}"

        chart.select(tell, None, said, show_progress="hidden", api_visibility="private")
        by_mu.click(lambda: scatter_value(points, mu, colour_label="mu", key="first"), None, chart)
        grown.click(lambda: scatter_value(2 * points, kinds, key="first"), None, chart)
        other.click(lambda: scatter_value(2 * points[:99], kinds[:99], key="second"), None, chart)
    return demo


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = str(tmp_path_factory.mktemp("gradio"))
    with mock.patch.dict(os.environ, {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}):
        demo = page_of_its_own()
        _, address, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", ssr_mode=False
        )
        yield address
        demo.close(verbose=False)


@pytest.fixture
def chart(context: Any, url: str) -> Iterator[Any]:
    """A page whose map is drawn; errors in the console fail the test."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    page.wait_for_function("() => document.querySelector('#map canvas')?.dataset.milliseconds > 0")
    yield page
    page.close()
    assert not errors


def hook(page: Any, expression: str) -> Any:
    return page.evaluate(f"() => {{ const c = document.querySelector('#map canvas'); return {expression}; }}")


def spot(page: Any, i: int) -> tuple[float, float]:
    """Where point `i` lies on the page."""
    x, y = hook(page, f"c.__pt({i})")
    box = page.locator("#map canvas").bounding_box()
    return box["x"] + 1 + x, box["y"] + 1 + y


def coloured(page: Any) -> int:
    """Pixels of the canvas that are not background."""
    page.wait_for_timeout(100)
    return hook(
        page,
        "new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)"
        ".filter((pixel, _, all) => pixel !== all[0]).length",
    )


def wait_said(page: Any, words: str) -> None:
    page.wait_for_function("words => document.querySelector('#said textarea').value === words", arg=words)


def test_a_click_on_a_known_point_names_it(chart: Any):
    for i in (7, 7):
        chart.mouse.click(*spot(chart, i))
        wait_said(chart, f"point {i}")
    assert hook(chart, "c.__state().selected") == 7
    assert "photo 7.png, rain" in chart.inner_text("#map .map-said")


def test_clicks_in_the_crowd_hit_the_point_on_that_spot(chart: Any):
    """In a crowd several photos share a spot: what is picked lies where the click was."""
    for i in (100, 2345, 9999):
        chart.mouse.click(*spot(chart, i))
        chart.wait_for_function("() => document.querySelector('#said textarea').value !== ''")
        found = hook(chart, "c.__state().selected")
        assert np.hypot(*np.subtract(spot(chart, found), spot(chart, i))) < 1.5


def test_hover_shows_what_the_point_is(chart: Any):
    chart.mouse.move(*spot(chart, 7))
    chart.wait_for_function("() => document.querySelector('#map .map-tip').style.display === 'block'")
    assert chart.inner_text("#map .map-tip") == "photo 7.png\nrain"
    x, y = spot(chart, 7)
    chart.mouse.move(x, y - 120)
    assert not chart.locator("#map .map-tip").is_visible()


def test_the_legend_hides_a_degradation(chart: Any):
    rain = chart.locator("#map .map-legend button", has_text="rain").first
    assert rain.inner_text().split() == ["rain", "1667"]
    before = coloured(chart)
    rain.click()
    assert rain.get_attribute("aria-pressed") == "false"
    assert coloured(chart) < 0.9 * before
    chart.mouse.click(*spot(chart, 7))
    chart.wait_for_timeout(200)
    assert chart.input_value("#said textarea") == ""
    rain.click()
    chart.mouse.click(*spot(chart, 7))
    wait_said(chart, "point 7")


def test_the_wheel_zooms_at_the_pointer_and_a_drag_moves_the_map(chart: Any):
    scale = hook(chart, "c.__state().scale")
    x, y = spot(chart, 300)
    chart.mouse.move(x, y)
    chart.mouse.wheel(0, -600)
    chart.wait_for_function("s => document.querySelector('#map canvas').__state().scale > 2 * s", arg=scale)
    # Chromium tells the pointer's place in whole pixels.
    zoomed = spot(chart, 300)
    np.testing.assert_allclose(zoomed, (x, y), atol=1.5)
    chart.mouse.down()
    chart.mouse.move(x - 60, y + 40, steps=4)
    chart.mouse.up()
    np.testing.assert_allclose(np.subtract(spot(chart, 300), zoomed), (-60, 40), atol=1)
    assert chart.input_value("#said textarea") == ""
    chart.mouse.dblclick(x - 60, y + 40)
    assert hook(chart, "c.__state().scale") == pytest.approx(scale)


def test_two_fingers_zoom_between_them_and_choose_nothing(chart: Any):
    scale = hook(chart, "c.__state().scale")
    rest, moving = np.array(spot(chart, 300)), np.array(spot(chart, 300)) + (80, 0)
    touch = chart.context.new_cdp_session(chart)

    def fingers(kind: str, *places: np.ndarray) -> None:
        points = [{"x": float(x), "y": float(y), "id": k} for k, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", rest)
    fingers("touchStart", rest, moving)
    for way in (20, 40, 80):
        fingers("touchMove", rest, moving + (way, 0))
    chart.wait_for_function("s => document.querySelector('#map canvas').__state().scale > 1.9 * s", arg=scale)
    assert hook(chart, "c.__state().scale") == pytest.approx(2 * scale, rel=0.02)
    np.testing.assert_allclose(spot(chart, 300), rest, atol=1.5)
    fingers("touchEnd")
    fingers("touchStart", rest)  # one finger moves the map
    fingers("touchMove", rest + (30, 20))
    chart.wait_for_timeout(100)
    np.testing.assert_allclose(np.subtract(spot(chart, 300), rest), (30, 20), atol=1.5)
    fingers("touchEnd")
    assert hook(chart, "c.__state().scale") == pytest.approx(2 * scale, rel=0.02)
    assert chart.input_value("#said textarea") == ""


def test_buttons_zoom_where_there_is_no_wheel(chart: Any):
    scale = hook(chart, "c.__state().scale")
    chart.get_by_role("button", name="zoom in").click()
    assert hook(chart, "c.__state().scale") == pytest.approx(1.25 * scale)
    chart.get_by_role("button", name="zoom out").click()
    assert hook(chart, "c.__state().scale") == pytest.approx(scale)


def test_arrow_keys_go_from_photo_to_photo(chart: Any):
    chart.mouse.click(*spot(chart, 7))
    wait_said(chart, "point 7")
    chart.locator("#map canvas").press("ArrowLeft")
    chart.wait_for_function("() => document.querySelector('#map canvas').__state().selected !== 7")
    left = hook(chart, "c.__state().selected")
    wait_said(chart, f"point {left}")
    assert spot(chart, left)[0] < spot(chart, 7)[0]
    chart.locator("#map canvas").press("Escape")
    assert hook(chart, "c.__state().selected") == -1


def test_a_star_is_clicked_as_a_star(chart: Any):
    x, y = hook(chart, "c.__star(0)")
    box = chart.locator("#map canvas").bounding_box()
    chart.mouse.move(box["x"] + x, box["y"] + y)
    assert chart.inner_text("#map .map-tip") == STAR[2]
    chart.mouse.click(box["x"] + x, box["y"] + y)
    wait_said(chart, "star 0")


def test_numbers_have_a_scale_and_the_view_stays_with_the_map(chart: Any):
    chart.mouse.click(*spot(chart, 7))
    wait_said(chart, "point 7")
    chart.get_by_role("button", name="zoom in").click()
    scale = hook(chart, "c.__state().scale")
    chart.click("#by_mu")
    chart.wait_for_selector("#map .map-scale")
    assert chart.inner_text("#map .map-scale").split() == ["mu", "0.00", "0.70"]
    assert hook(chart, "c.__state().scale") == scale
    assert hook(chart, "c.__state().selected") == 7
    chart.click("#other")
    chart.wait_for_function("() => document.querySelector('#map canvas').__state().count === 99")
    assert hook(chart, "c.__state().scale") < scale
    assert hook(chart, "c.__state().selected") == -1
    chart.mouse.click(*spot(chart, 8))
    wait_said(chart, "point 8")


def test_a_growing_map_stays_whole_in_sight(chart: Any):
    before, scale = spot(chart, 7), hook(chart, "c.__state().scale")
    chart.click("#grown")
    chart.wait_for_function("s => document.querySelector('#map canvas').__state().scale < 0.6 * s", arg=scale)
    np.testing.assert_allclose(spot(chart, 7), before, atol=1)


def test_ten_thousand_points_draw_and_react_within_a_tenth_of_a_second(chart: Any):
    times = []
    for step in range(12):
        chart.evaluate(
            "step => { const c = document.querySelector('#map canvas'); c.dataset.milliseconds = '';"
            "const box = c.getBoundingClientRect();"
            "c.dispatchEvent(new WheelEvent('wheel', {deltaY: step % 2 ? 40 : -40, cancelable: true,"
            "clientX: box.left + 300, clientY: box.top + 200})); }",
            step,
        )
        chart.wait_for_function("() => document.querySelector('#map canvas').dataset.milliseconds")
        times.append(float(hook(chart, "c.dataset.milliseconds")))
    assert min(times) < 100, times  # the least: other work on the machine is not the map's
    search = chart.evaluate(
        "() => { const c = document.querySelector('#map canvas'), box = c.getBoundingClientRect();"
        "const begun = performance.now();"
        "for (let k = 0; k < 10; k++) c.onpointermove({clientX: box.left + 40 * k, clientY: box.top + 200});"
        "return (performance.now() - begun) / 10; }"
    )
    assert search < 100


def test_it_fits_a_phone(context: Any, url: str):
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(url)
    page.wait_for_function("() => document.querySelector('#map canvas')?.dataset.milliseconds > 0")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    page.mouse.click(*spot(page, 7))
    wait_said(page, "point 7")
    page.close()
