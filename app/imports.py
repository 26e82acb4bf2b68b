"""The heavy libraries are imported by one thread, and no handler runs before that is done.

Handlers import what they need when they need it, so that the page stands at once. But two threads that enter
the same ring of imports from two sides, as diffusers has them, each find modules half made: the visitor who
was quick enough to click during the start would see that error.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

_one_at_a_time = threading.Lock()


def import_heavy() -> None:
    """Import what handlers will need; returns at once when that has been done."""
    with _one_at_a_time:
        import gendeg_core.embed.figures
        import gendeg_core.embed.loading
        import gendeg_core.embed.projection
        import gendeg_core.generate.loading
        import gendeg_core.restore.infer
        import gendeg_core.restore.loading
        import gendeg_core.synthesize  # noqa: F401


class AfterImports:
    """ASGI middleware: calls of handlers, which are POST requests, wait for the imports; pages do not."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            await asyncio.to_thread(import_heavy)
        await self.app(scope, receive, send)
