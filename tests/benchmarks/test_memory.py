"""The memory benchmark measures what a restoration adds."""

from __future__ import annotations

from tests.benchmarks.memory import footprint


def test_peak_grows_by_the_result_at_least():
    found = footprint("swin", 480, 1280)
    assert found.tile is None or found.tile >= 128
    assert found.peak - found.before > 3 * 480 * 1280 * 4
