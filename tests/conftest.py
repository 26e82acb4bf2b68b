"""What holds for every test: no network, and a browser test must not skip where a browser is promised."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before gradio or huggingface_hub is imported: both read these once.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def is_browser_test(item: pytest.Item | pytest.Collector) -> bool:
    marked = any(mark.name == "browser" for mark in item.iter_markers())
    return marked or "tests/browser/" in item.path.as_posix()


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn the skip of a browser test into a failure that keeps the reason."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a browser test must not skip in CI: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if in_ci() and is_browser_test(item):
        fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if in_ci() and is_browser_test(collector):
        fail_if_skipped(report)
    return report
