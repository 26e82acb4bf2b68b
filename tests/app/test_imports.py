"""Handlers wait until the heavy libraries are there; pages do not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from app import imports
from app.main import ROOT, launch_arguments


def test_calls_wait_for_the_imports_and_pages_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    imported, order = threading.Event(), []
    monkeypatch.setattr(imports, "import_heavy", lambda: imported.wait(30))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        order.append(scope["method"])

    async def visit() -> None:
        waiting = imports.AfterImports(app)
        call = asyncio.create_task(waiting({"type": "http", "method": "POST"}, None, None))
        await asyncio.sleep(0.05)
        await waiting({"type": "http", "method": "GET"}, None, None)
        imported.set()
        await call

    asyncio.run(visit())
    assert order == ["GET", "POST"]


def test_the_served_app_waits() -> None:
    assert [entry.cls for entry in launch_arguments()["app_kwargs"]["middleware"]] == [imports.AfterImports]


def test_what_handlers_import_is_there_afterwards() -> None:
    script = (
        "import sys; from app.imports import import_heavy; import_heavy(); before = set(sys.modules);"
        "from gendeg_core.restore.loading import available, load_restorer;"
        "from gendeg_core.synthesize import load_engine;"
        "load_engine('simulator'); available();"
        "heavy = {'torch', 'diffusers', 'transformers', 'timm', 'open_clip', 'sklearn', 'openTSNE'};"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} & heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
