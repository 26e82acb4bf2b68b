"""The whole Restore path as a visitor walks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from app import restorers
from gendeg_core.images import read_photo, read_settings
from tests.app.fakes import write_scene
from tests.app.networks import SlowNet

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def slow_network() -> Iterator[None]:
    """PromptIR takes long enough to be cancelled."""
    restorer = SimpleNamespace(net=SlowNet(pause=1.5), model="promptir", weights="slow@0", label=None)
    with mock.patch.dict(restorers._loaded, {("promptir", "gends"): restorer}):
        yield


def wait_for(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#restore_status .text').textContent.includes(words)", arg=words
    )


def open_tab(page: Any) -> Any:
    page.get_by_role("tab", name="Restore").click()
    page.wait_for_function("document.querySelectorAll('#restore_examples img').length === 6")
    return page


def choose_only(page: Any, *names: str) -> None:
    """Tick exactly the networks with these titles."""
    boxes = page.locator("#restore_networks").get_by_role("checkbox")
    for index in range(boxes.count()):
        boxes.nth(index).uncheck()
    for name in names:
        page.locator("#restore_networks").get_by_role("checkbox", name=name, exact=True).check()


def view(page: Any) -> dict[str, Any]:
    return page.eval_on_selector("#restore_grid .frame", "frame => frame.__view()")


def painted(page: Any, count: int) -> None:
    page.wait_for_function(
        """count => {
          const images = [...document.querySelectorAll('#restore_grid .view img')];
          return images.length === count && images.every((image) => image.naturalWidth > 0);
        }""",
        arg=count,
    )


def test_an_example_is_compared_with_metrics_swipe_and_one_zoom(page: Any) -> None:
    open_tab(page)
    page.locator("#restore_examples .thumbnail-item").nth(0).click()
    wait_for(page, "4 networks at 480 × 320 pixels")
    painted(page, 6)
    titles = page.locator("#restore_grid .title").all_inner_texts()
    assert titles == [
        *("Input", "NAFNet, existing data", "NAFNet, existing + GenDS"),
        *("PromptIR, existing + GenDS", "Swin, existing + GenDS", "Clean"),
    ]
    assert page.locator("#restore_grid .pane").nth(1).locator(".badges span").count() == 3
    assert page.locator("#restore_numbers tbody tr").count() == 5
    assert "PSNR" in page.inner_text("#restore_numbers thead")
    page.wait_for_function(
        "[...document.querySelectorAll('#restore_swipe img')].filter((i) => i.naturalWidth).length > 1"
    )
    first = page.locator("#restore_grid .view").nth(1)
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.wheel(0, -600)
    page.wait_for_function("document.querySelector('#restore_grid .frame').__view().scale > 2")
    transforms = page.eval_on_selector_all(
        "#restore_grid .view img", "images => images.map((image) => image.style.transform)"
    )
    assert len(set(transforms)) == 1
    seen = view(page)
    assert seen["left"] + 0.25 / seen["scale"] == pytest.approx(0.25, abs=0.01)  # under the mouse
    page.locator("#restore_grid [data-zoom=reset]").click()
    first.click(position={"x": 0.5 * box["width"], "y": 0.25 * box["height"]})
    assert view(page)["patch"] == pytest.approx([0.5, 0.25, 0.125], abs=0.01)
    patches = page.eval_on_selector_all(
        "#restore_grid canvas", "all => all.map((canvas) => [canvas.width, canvas.height])"
    )
    assert patches == [[60, 30]] * 6


def test_the_keyboard_zooms_and_marks(page: Any) -> None:
    open_tab(page)
    page.locator("#restore_examples .thumbnail-item").nth(1).click()
    wait_for(page, "4 networks at")
    painted(page, 6)
    pane = page.locator("#restore_grid .view").nth(0)
    pane.focus()
    pane.press("+")
    pane.press("ArrowRight")
    seen = view(page)
    assert seen["scale"] == pytest.approx(1.5)
    pane.press("Enter")
    middle = seen["left"] + 0.5 / seen["scale"]
    assert view(page)["patch"][0] == pytest.approx(middle, abs=1e-6)


def test_own_photo_two_networks_facts_and_the_full_size_file(page: Any, tmp_path: Path) -> None:
    open_tab(page)
    choose_only(page, "NAFNet, existing + GenDS", "Swin, existing + GenDS")
    photo = write_scene(tmp_path / "street.png", 700, 560)
    page.locator("#restore_photo input[type=file]").set_input_files(photo)
    wait_for(page, "2 networks at 640 × 512 pixels (scaled down")
    assert page.locator("#restore_grid .pane").count() == 3
    assert "brightness" in page.inner_text("#restore_numbers thead")
    with page.expect_download() as download:
        page.click("#restore_render")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "street_restored_nafnet_gends.png"
    assert tuple(read_photo(path).pixels.shape) == (3, 560, 700)
    assert read_settings(path)["training"] == "existing + GenDS"
    page.locator("#restore_right input").click()
    page.get_by_role("option", name="Swin, existing + GenDS").click()
    page.wait_for_function(
        """() => {
          const swin = document.querySelectorAll('#restore_grid .view img')[2].src.split('/file=')[1];
          return [...document.querySelectorAll('#restore_swipe img')].some((i) => i.src.includes(swin));
        }"""
    )


def test_a_clean_version_that_comes_later_measures_what_is_there(page: Any, tmp_path: Path) -> None:
    open_tab(page)
    choose_only(page, "NAFNet, existing + GenDS")
    page.locator("#restore_photo input[type=file]").set_input_files(write_scene(tmp_path / "street.png"))
    wait_for(page, "1 network at 96 × 72 pixels")
    choose_only(page, "Swin, existing + GenDS")  # which is not asked to work now
    page.get_by_text("I have the clean version, too").click()
    page.locator("#restore_clean input[type=file]").set_input_files(write_scene(tmp_path / "clean.png"))
    page.locator("#restore_numbers thead", has_text="PSNR").wait_for()
    assert page.locator("#restore_grid .title").all_inner_texts() == [
        *("Input", "NAFNet, existing + GenDS", "Clean")
    ]


def test_the_picture_of_the_synthesize_tab_is_restored(page: Any) -> None:
    page.click("#send")
    page.locator("#restore_go").wait_for()
    wait_for(page, "4 networks at 384 × 256 pixels")
    assert "PSNR" in page.inner_text("#restore_numbers thead")
    assert page.locator("#restore_grid .title").last.inner_text() == "Clean"


def test_cancelling_keeps_the_networks_that_are_finished(page: Any, slow_network: None) -> None:
    open_tab(page)
    choose_only(page, "NAFNet, existing data", "Swin, existing + GenDS", "PromptIR, existing + GenDS")
    page.locator("#restore_examples .thumbnail-item").nth(2).click()
    wait_for(page, "PromptIR, existing + GenDS at work")
    page.click("#restore_cancel")
    wait_for(page, "Cancelled after 1 of 3 networks")
    assert page.locator("#restore_grid .title").all_inner_texts() == [
        *("Input", "NAFNet, existing data", "Clean")
    ]


def test_a_file_that_is_no_checkpoint_is_answered_with_a_sentence(page: Any, tmp_path: Path) -> None:
    open_tab(page)
    path = tmp_path / "cat.pth"
    path.write_bytes(b"meow")
    page.get_by_text("Add your own checkpoint").click()
    page.locator("#restore_own_files input[type=file]").set_input_files(path)
    page.locator("#restore_own_files .file-preview").wait_for()
    page.click("#restore_own_add")
    page.locator(".toast-body", has_text="cat.pth").wait_for()
    assert page.locator("#restore_networks").get_by_role("checkbox").count() == 4


def test_several_photos_become_one_figure(page: Any, tmp_path: Path) -> None:
    open_tab(page)
    choose_only(page, "NAFNet, existing + GenDS")
    for number in (0, 4):
        page.locator("#restore_examples .thumbnail-item").nth(number).click()
        painted(page, 3)
        wait_for(page, "1 network at")
        page.click("#gallery_add")
        wait_for(page, "added to the gallery")
    wait_for(page, "Row 2 added to the gallery: street_low_light")
    with page.expect_download() as download:
        page.click("#gallery_save")
    path = tmp_path / "figure.png"
    download.value.save_as(path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] > 1000
    assert pixels.std() > 20


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Callable[..., Any], theme: str) -> None:
    page = open_tab(open_page(f"engine=simulator&__theme={theme}", PHONE))
    page.locator("#restore_examples .thumbnail-item").nth(3).click()
    wait_for(page, "4 networks at")
    painted(page, 6)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    order = [
        page.locator(f"#{name}").bounding_box()["y"]
        for name in ("restore_photo", "restore_go", "restore_swipe", "restore_numbers", "restore_grid")
    ]
    assert order == sorted(order)
