"""The Explore tab's small map, for the tests of its handlers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import exploration
from app.explore_session import ExploreSession
from tests.app.maps import installed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the map and weights lie that count as shipped while a module's tests run."""
    with installed(tmp_path_factory.mktemp("explore")) as place:
        yield place


@pytest.fixture
def session(folder: Path) -> ExploreSession:
    """A visitor who has opened that map."""
    fresh = ExploreSession()
    list(exploration.open_shipped(fresh))
    return fresh
