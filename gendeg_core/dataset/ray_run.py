"""Shards made by the machines of a Ray cluster: an actor pool of Ray Data, one loaded model per actor.

Every machine needs this library in the same version, the plan's photos under the same path, and the output
folder in common (a network file system). Ray starts a lost worker again and gives its shard to another, so a
killed worker costs time only.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

LOCAL = "local"  # address that starts Ray on this machine alone


class RayError(ValueError):
    """A run on Ray cannot start or go on; the message is one sentence for the person who asked."""


def shards_on_ray(
    build: Callable[[], Callable[[int], None]],
    shards: Sequence[int],
    *,
    address: str,
    workers: int | None = None,
    gpus: float | None = None,
) -> Iterator[int]:
    """Make `shards` on a Ray cluster; yields each number when its shard is done, in the order they finish.

    Closing the iterator stops the workers.

    Args:
        build: called once in each worker process, returns what makes shard k. Must be picklable.
        address: of a running cluster (auto, HOST:PORT, ray://HOST:PORT), or local to start Ray here.
        workers: number of actors; None for one per GPU, without GPUs one per CPU core.
        gpus: share of a GPU that each actor takes; None for 1 if the cluster has any, else 0.

    Raises:
        RayError: Ray is not installed, the cluster is not reached or too small, or a worker raised.
    """
    with _connected(address, workers) as ray:
        resources = ray.cluster_resources()
        if gpus is None:
            gpus = 1.0 if resources.get("GPU") else 0.0
        room = int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 0))
        workers = workers or max(room, 1)
        if workers > room:
            what = f"{gpus:g} GPU each" if gpus else "a CPU core each"
            raise RayError(
                f"the cluster has room for {room} workers with {what}, not {workers}; ask for fewer"
            )
        yield from _run(ray, build, shards, min(workers, len(shards)), gpus)


def _run(
    ray: Any, build: Callable[[], Callable[[int], None]], shards: Sequence[int], workers: int, gpus: float
) -> Iterator[int]:
    if not shards:
        return
    from ray.data import ActorPoolStrategy

    made = ray.data.from_items([{"shard": k} for k in shards], override_num_blocks=len(shards)).map_batches(
        ShardActor,
        fn_constructor_args=[build],
        batch_size=1,
        # One shard at a time: what waits at a busy worker, an idle one could not take.
        compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_gpus=gpus or None,
        num_cpus=None if gpus else 1,
    )
    try:
        for batch in made.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
            if batch["error"][0]:
                raise RayError(f"a worker of the Ray cluster failed: {batch['error'][0]}")
            yield int(batch["shard"][0])
    except ray.exceptions.RayError as error:
        raise RayError(f"the run on the Ray cluster broke off: {error}") from error


class ShardActor:
    """Lives in a worker process: builds once, then makes one shard per call.

    What goes wrong is an answer like any other: an exception would reach the caller wrapped in frames of Ray,
    and one while building would have Ray start the worker again and again.
    """

    def __init__(self, build: Callable[[], Callable[[int], None]]) -> None:
        self.make: Callable[[int], None] | None = None
        self.error = ""
        try:
            self.make = build()
        except Exception as error:
            self.error = _told(error)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        (k,) = batch["shard"]
        error = self.error
        if self.make is not None:
            try:
                self.make(int(k))
            except Exception as raised:
                error = _told(raised)
        return {"shard": batch["shard"], "error": np.array([error])}


def _told(error: Exception) -> str:
    traceback.print_exception(error)  # into the worker's log
    return f"{type(error).__name__}: {error}"


@contextmanager
def _connected(address: str, workers: int | None) -> Iterator[Any]:
    """The module ray, connected; disconnected afterwards unless it was connected before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RayError(
            f"Ray is not installed ({error}); install it with: pip install 'gendeg-studio[ray]'"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    # What Ray starts here has one CPU per worker, as the workers ask for.
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RayError(
            f"there is no Ray cluster at {address!r} ({error}); start one with `ray start`"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # progress is told by the caller
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """RayError unless something listens at HOST:PORT; Ray itself would try for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise RayError(f"nothing answers at {address} ({error}); start a cluster with `ray start`") from error
