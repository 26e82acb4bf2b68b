"""A local Ray of two workers: the same shards as one process, also when a worker is killed midway."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from gendeg_core.dataset import ray_run
from gendeg_core.dataset.clock import Clock
from gendeg_core.dataset.engines import EngineOptions, PhotoEngine, SimulatorPhotos
from gendeg_core.dataset.plan import Plan, PlanSettings, make_plan
from gendeg_core.dataset.ray_run import LOCAL, RayError, ShardActor, shards_on_ray
from gendeg_core.dataset.run import RunError, ShardBuilder, run_plan
from gendeg_core.dataset.shards import iterate_rows
from gendeg_core.types import DegradationRequest, DegradationResult
from tests.train.drawn import draw_photo


class SlowPhotos(SimulatorPhotos):
    """Simulators that leave time to kill the worker."""

    def make(
        self, clean: Tensor, requests: Sequence[DegradationRequest], clock: Clock
    ) -> list[DegradationResult]:
        time.sleep(0.5)
        return super().make(clean, requests, clock)


def load_slow(options: EngineOptions, names: Iterable[str], device: str | None) -> dict[str, PhotoEngine]:
    return {"simulator": SlowPhotos()}


def build(bad: str) -> Callable[[int], None]:
    if bad == "build":
        raise OSError("the weights are missing")

    def make(k: int) -> None:
        if bad == "make":
            raise ValueError(f"shard {k} is bad")

    return make


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(6):
        draw_photo(k, (72, 64)).save(photos / f"{k}.png")
    settings = PlanSettings(str(photos), per_image=2, size=48, engine="simulator", photos_per_shard=1)
    return Plan(settings, make_plan(settings))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-dev.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray leaves a token there
        with ray_run._connected(LOCAL, 2):
            yield


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "data").iterdir())}


def workers_of(output: Path) -> dict[int, float]:
    """Process id to the time of its last sign of life."""
    logs = (output / "log").glob("*.jsonl")
    return {int(file.stem.rpartition("-")[2]): file.stat().st_mtime for file in logs}


def test_a_killed_worker_costs_time_only(cluster: None, plan: Plan, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    *_, last = run_plan(plan, alone, workers=0)
    assert (last.done, last.total) == (12, 12)
    seen, victim = [], 0
    for progress in run_plan(plan, together, ShardBuilder("", load=load_slow), workers=2, ray=LOCAL):
        seen.append(progress.done)
        if progress.shards_done == 2:
            victim = max(workers_of(together), key=workers_of(together).__getitem__)
            os.kill(victim, signal.SIGKILL)  # in the middle of its next shard
    assert seen == list(range(0, 13, 2))
    assert victim
    # On a busy machine the other worker is done before one takes the place of the killed one.
    assert 2 <= len(workers_of(together)) <= 3
    assert shard_bytes(together) == shard_bytes(alone)
    rows = list(iterate_rows(together, ["item_id"]))
    assert [row["item_id"] for row in rows] == plan.table["item_id"].to_pylist()


def test_shards_that_only_the_worker_sees_are_missed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = []

    def elsewhere(builder: ShardBuilder, pending: list[int], **how: object) -> Iterator[int]:
        given.append(builder.output)
        yield pending[0]

    monkeypatch.setattr(ray_run, "shards_on_ray", elsewhere)
    with pytest.raises(RunError, match="that all machines of the cluster share"):
        list(run_plan(plan, "made", ray="auto"))
    assert given == [str(tmp_path.resolve() / "made")]


def test_what_a_worker_raises_is_told(cluster: None) -> None:
    with pytest.raises(RayError, match="failed: OSError: the weights are missing"):
        list(shards_on_ray(functools.partial(build, "build"), [7], address=LOCAL, workers=2))
    answer = ShardActor(functools.partial(build, "make"))({"shard": np.array([7])})
    assert str(answer["error"][0]) == "ValueError: shard 7 is bad"


def test_more_workers_than_the_cluster_has_are_refused(cluster: None) -> None:
    with pytest.raises(RayError, match="room for 2 workers with a CPU core each, not 3"):
        next(shards_on_ray(functools.partial(build, ""), [0], address=LOCAL, workers=3))
    assert list(shards_on_ray(functools.partial(build, ""), [], address=LOCAL)) == []


def test_an_actor_builds_once_and_makes_many() -> None:
    built, made = [], []
    actor = ShardActor(lambda: (built.append(1), made.append)[1])
    answers = [actor({"shard": np.array([k])}) for k in (4, 2)]
    assert (built, made) == ([1], [4, 2])
    assert [str(answer["error"][0]) for answer in answers] == ["", ""]


def test_no_cluster_is_said_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-dev.txt")
    start = time.monotonic()
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(RayError, match="nothing answers at .*127.0.0.1:9"):
            ray_run._check_answers(address)
    assert time.monotonic() - start < 5


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"pip install 'gendeg-studio\[ray\]'"):
        next(shards_on_ray(lambda: print, [0], address=LOCAL))
