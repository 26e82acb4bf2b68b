"""A local Ray of two workers: the same shards as one process, also when a worker is killed midway."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gendeg_core.dataset import ray_run
from gendeg_core.dataset.ray_run import LOCAL, RayError, ShardActor, shards_on_ray
from tests.dataset.stored import write_shards


def build(folder: Path, pause: float) -> Callable[[int], None]:
    """Leaves one file per worker process and one per shard begun."""
    (folder / f"worker-{os.getpid()}").touch()

    def make(k: int) -> None:
        (folder / f"begun-{os.getpid()}-{k}").touch()
        time.sleep(pause)
        if k == 99:
            raise ValueError("photo 99 is bad")
        if not (folder / str(k)).exists():
            write_shards(folder / str(k), (k + 1,))

    return make


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-dev.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray leaves a token there
        with ray_run._connected(LOCAL, 2):
            yield


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {f"{file.parents[1].name}": file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def test_a_killed_worker_costs_time_only(cluster: None, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    make = build(alone, 0)
    for k in range(8):
        make(k)
    done, victim = [], 0
    for k in shards_on_ray(functools.partial(build, together, 0.4), range(8), address=LOCAL, workers=2):
        done.append(k)
        if len(done) == 2:
            begun = max(together.glob("begun-*"), key=lambda file: file.stat().st_mtime)
            victim = int(begun.name.split("-")[1])
            os.kill(victim, signal.SIGKILL)  # in the middle of its next shard
    assert sorted(done) == list(range(8))
    workers = {int(file.name.split("-")[1]) for file in together.glob("worker-*")}
    assert victim in workers
    assert len(workers) == 3, "two workers, and one that replaced the killed one"
    assert shard_bytes(together) == shard_bytes(alone)


def test_what_a_worker_raises_is_told(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RayError, match="failed: ValueError: photo 99 is bad"):
        list(shards_on_ray(functools.partial(build, tmp_path, 0), [0, 99], address=LOCAL, workers=2))


def test_more_workers_than_the_cluster_has_are_refused(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RayError, match="room for 2 workers with a CPU core each, not 3"):
        next(shards_on_ray(functools.partial(build, tmp_path, 0), [0], address=LOCAL, workers=3))
    assert list(shards_on_ray(functools.partial(build, tmp_path, 0), [], address=LOCAL)) == []


def test_an_actor_builds_once_and_makes_many(tmp_path: Path) -> None:
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
