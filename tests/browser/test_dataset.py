"""The Dataset tab as a visitor walks it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


def wait_for(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#dataset_status .text').textContent.includes(words)", arg=words
    )


def open_tab(page: Any) -> Any:
    page.get_by_role("tab", name="Dataset").click()
    page.locator("#dataset_make").wait_for()
    return page


def test_own_photos_become_an_audited_data_set(
    open_page: Callable[..., Any], photo: Path, tmp_path: Path
) -> None:
    page = open_tab(open_page(viewport=PHONE))
    page.locator("#dataset_photos input[type=file]").set_input_files(photo)
    page.wait_for_function("document.querySelector('#dataset_source input:checked').value === 'own'")
    for name in ("rain", "snow", "raindrop"):
        page.locator("#dataset_degradations").get_by_role("checkbox", name=name, exact=True).uncheck()
    page.click("#dataset_make")
    wait_for(page, "3 pairs")
    assert page.locator("#dataset_verdict li").count() == 6
    page.wait_for_function("document.querySelectorAll('#dataset_pairs .grid-container img').length > 0")
    assert page.locator("#dataset_pairs .grid-container img").count() == 3
    frame = page.frame_locator("#dataset_report iframe")
    assert "Audit" in frame.locator("h1").inner_text()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    with page.expect_download() as download:
        page.locator("#dataset_archive").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    with zipfile.ZipFile(path) as file:
        shard = next(name for name in file.namelist() if name.endswith("-of-00001.parquet"))
        rows = pq.read_table(file.open(shard), columns=["photo", "degradation"]).to_pylist()
    assert [row["degradation"] for row in rows] == ["haze", "motion_blur", "low_light"]
    assert {row["photo"] for row in rows} == {"scene.png"}


def test_cancelling_a_data_set_leaves_no_file(page: Any) -> None:
    open_tab(page)
    page.locator("#dataset_engine").get_by_role("radio", name="GenDeg").check()
    page.click("#dataset_make")
    wait_for(page, " of 24 pictures")
    page.click("#dataset_cancel")
    wait_for(page, "Cancelled: nothing was kept.")
    assert page.locator("#dataset_archive").is_disabled()
