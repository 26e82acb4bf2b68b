"""What the browser tests do on the page and read from it; elements are found by their id."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def pictures(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """Before and after as bytes (h, w, 3), fetched from the addresses that the page shows."""
    sources = page.eval_on_selector_all("#compare img", "images => images.map((image) => image.src)")
    before, after = (
        np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))
        for source in sources[:2]
    )
    return before, after


def after_source(page: Any) -> str:
    return "|".join(page.eval_on_selector_all("#compare img", "images => images.map((image) => image.src)"))


def status(page: Any) -> str:
    return page.inner_text("#status .text")


def wait_status(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#status .text').textContent.includes(words)", arg=words
    )


def wait_new_picture(page: Any, before: str) -> None:
    """Until the compared pictures are others than `before` and are painted."""
    page.wait_for_function(
        """before => {
          const images = [...document.querySelectorAll('#compare img')];
          return images.map((image) => image.src).join('|') !== before
            && images.every((image) => image.complete && image.naturalWidth > 0)
            && document.querySelector('#status .text').textContent.startsWith('Preview at');
        }""",
        arg=before,
    )


def number(page: Any, name: str) -> float:
    return float(page.input_value(f"#{name} input[type=number]"))


def type_number(page: Any, name: str, value: float) -> None:
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.blur()


def obtained(page: Any) -> list[float]:
    return [float(text) for text in page.locator("#readout td.obtained").all_inner_texts()]


def wait_asked(page: Any, mu: float, sigma: float) -> None:
    """Until the table tells of a result that was asked for exactly these numbers."""
    page.wait_for_function(
        """asked => {
          const rows = [...document.querySelectorAll('#readout tbody tr')];
          return rows.length === 2 && rows.every((row, i) => row.children[1].textContent === asked[i]);
        }""",
        arg=[f"{mu:.3f}", f"{sigma:.3f}"],
    )
