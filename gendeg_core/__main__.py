"""`python -m gendeg_core`: see `gendeg_core.cli`."""

from __future__ import annotations

import sys

from gendeg_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
