"""Where finished maps are kept, so that the same map is not computed twice while the app runs."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

KEPT = 200  # maps; one of 10,000 photos takes 80 kB


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gendeg-maps-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def cache_folder() -> Path:
    """A folder of this process, removed when it ends; the oldest of too many maps go."""
    maps = sorted(_folder().glob("*.npy"), key=lambda path: path.stat().st_mtime)
    for path in maps[:-KEPT]:
        path.unlink(missing_ok=True)
    return _folder()
