"""A served app and headless Chromium; console errors and requests that leave the app fail a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.fakes import SlowEngine, write_scene
from tests.app.serving import serving

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SHOTS = Path(__file__).with_name("shots")
PATIENCE = 30_000  # milliseconds; a loaded machine is slow, not wrong


@pytest.fixture(scope="session")
def slow_engine() -> SlowEngine:
    """Stands where GenDeg stands, with pauses long enough to cancel in."""
    return SlowEngine(steps=10, pause=0.05)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory, slow_engine: SlowEngine) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("gradio"), slow_engine) as address:
        yield address


@pytest.fixture(scope="session")
def context() -> Iterator[object]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; install the package chromium or set CHROMIUM")
    with (
        playwright_api.sync_playwright() as playwright,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
            locale="en-US",
            color_scheme="light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        browser.set_default_timeout(PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def open_page(context: object, url: str, request: pytest.FixtureRequest) -> Iterator[object]:
    """`open_page(query="", viewport=None)` gives a fresh page on which the first result is painted."""
    pages, outside, errors = [], [], []

    def open_one(query: str = "engine=simulator", viewport: dict[str, int] | None = None) -> object:
        page = context.new_page()
        pages.append(page)
        own = (url, "data:", "blob:")
        page.on("request", lambda sent: None if sent.url.startswith(own) else outside.append(sent.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        if viewport:
            page.set_viewport_size(viewport)
        page.goto(f"{url}?{query}")
        page.wait_for_function(FIRST_RESULT)
        return page

    yield open_one
    if getattr(request.node, "failed_call", False):
        SHOTS.mkdir(exist_ok=True)
        for number, page in enumerate(pages):
            page.screenshot(path=SHOTS / f"{request.node.name}-{number}.png", full_page=True)
    for page in pages:
        page.close()
    assert not outside, f"requests that left the app: {outside}"
    assert not errors, f"errors in the browser's console: {errors}"


@pytest.fixture
def page(open_page: object) -> object:
    return open_page()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.failed_call = report.failed
    return report


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("photos") / "scene.png", 330, 270)


FIRST_RESULT = """() => {
  const images = [...document.querySelectorAll('#compare img')];
  const painted = images.length > 1 && images.every((image) => image.complete && image.naturalWidth > 0);
  const text = document.querySelector('#status .text');
  const heat = document.querySelector('#heat img');
  return painted && heat && heat.naturalWidth > 0 && text && text.textContent.startsWith('Preview at');
}"""
