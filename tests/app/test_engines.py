"""Engines load once per process, and a failed load says what to do instead of falling back."""

from __future__ import annotations

import threading
import time

import pytest

from app import engines
from tests.app.fakes import SlowEngine


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOADED", {})


def test_many_visitors_share_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def slow_load(name: str) -> SlowEngine:
        loads.append(name)
        time.sleep(0.05)
        return SlowEngine()

    monkeypatch.setattr(engines, "load_engine", slow_load)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(engines.get_engine("gendeg"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["gendeg"]
    assert len(got) == 8
    assert len({id(engine) for engine in got}) == 1


def test_unreadable_weights_are_explained_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> SlowEngine:
        raise OSError(f"no weights in {engines.ASSETS}/weights")

    monkeypatch.setattr(engines, "load_engine", broken)
    with pytest.raises(engines.EngineUnavailable, match="weights could not be loaded") as caught:
        engines.get_engine("gendeg")
    assert "Choose “Physical simulator” instead" in str(caught.value)
    assert str(engines.ASSETS.parent) not in str(caught.value)
    monkeypatch.setattr(engines, "load_engine", lambda name: SlowEngine())
    assert engines.unavailable_reason("gendeg") is None


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown engine 'magic'"):
        engines.get_engine("magic")
