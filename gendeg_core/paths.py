"""Where the repository keeps what is not code."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
WEIGHTS = ASSETS / "weights"
