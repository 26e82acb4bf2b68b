"""The whole app, served by this process for the tests that go through HTTP or a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from tests.app.fakes import SlowEngine
from tests.app.networks import shipped


@contextmanager
def serving(folder: Path, gendeg: SlowEngine) -> Iterator[str]:
    """The address of a running app: files go to `folder`, GenDeg is `gendeg`, the restorers are tiny."""
    with mock.patch.dict(os.environ, {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}):
        from app import engines
        from app.main import build_demo, launch_arguments

        with mock.patch.dict(engines.LOADED, {"gendeg": gendeg}), shipped(folder / "weights"):
            demo = build_demo()
            _, url, _ = demo.launch(
                prevent_thread_lock=True,
                quiet=True,
                server_name="127.0.0.1",
                **launch_arguments(),  # pyright: ignore[reportArgumentType]
            )
            try:
                yield url
            finally:
                demo.close(verbose=False)
