"""Worker processes on this machine: each has its device and its loaded engines, and gets shard after shard.

A worker that dies is replaced and its shard given out again; a parent that dies takes its workers along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from gendeg_core.dataset.plan import PlanError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from gendeg_core.dataset.run import Event, ShardBuilder

DEATHS = 3  # of workers on the same shard, or before their first


@dataclass(frozen=True)
class _Failed:
    """A worker gives up: what it says, and whether the arguments are to blame."""

    sentence: str
    usage: bool


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    shard: int | None = None


def devices() -> list[str]:
    """Devices that get a process each by default."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return ["mps"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["cpu"] * cores


def events_of_workers(
    builder: ShardBuilder, shards: list[int], workers: int | None
) -> Generator[Event, None, None]:
    """Make `shards` in `workers` processes (None: one per device); yields what they report.

    Closing the iterator ends the processes.

    Raises:
        PlanError: the folder was begun with other weights or code.
        RunError: a worker cannot do its work, or dies again and again.
    """
    found = [builder.device] if builder.device is not None else devices()
    count = min(workers or len(found), len(shards))
    pool = _Pool(builder, [found[k % len(found)] for k in range(count)], deque(shards))
    try:
        yield from pool.events()
    finally:
        pool.end()


@dataclass
class _Pool:
    builder: ShardBuilder
    places: list[str]  # a device per worker
    waiting: deque[int]
    deaths: Counter[int | None] = field(default_factory=Counter)
    workers: list[_Worker] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        self.workers = [self._start(device) for device in self.places]
        while self.waiting or any(worker.shard is not None for worker in self.workers):
            ready = wait([worker.connection for worker in self.workers])
            for place, worker in enumerate(self.workers):
                if worker.connection in ready:
                    yield from self._hear(place, worker)

    def _hear(self, place: int, worker: _Worker) -> Iterator[Event]:
        from gendeg_core.dataset.run import Lost, RunError, ShardDone

        try:
            message: Any = worker.connection.recv()
        except (EOFError, OSError):  # the process is gone
            self._bury(worker)
            self.workers[place] = self._start(self.places[place])
            if worker.shard is not None:
                self.waiting.appendleft(worker.shard)
                yield Lost(worker.shard)
            return
        if isinstance(message, _Failed):
            raise PlanError(message.sentence) if message.usage else RunError(message.sentence)
        if message is not None:
            yield message
        if message is None or isinstance(message, ShardDone):  # free
            worker.shard = self.waiting.popleft() if self.waiting else None
            if worker.shard is not None:
                worker.connection.send(worker.shard)

    def _bury(self, worker: _Worker) -> None:
        from gendeg_core.dataset.run import RunError

        worker.process.join()
        self.deaths[worker.shard] += 1
        if self.deaths[worker.shard] == DEATHS:
            doing = "at its start" if worker.shard is None else f"in shard {worker.shard}"
            raise RunError(
                f"a worker process died {DEATHS} times {doing} (exit code {worker.process.exitcode}); "
                "use fewer workers if memory is short"
            )

    def _start(self, device: str) -> _Worker:
        context = multiprocessing.get_context("spawn")  # a forked copy of CUDA or of threads cannot work
        here, there = context.Pipe()
        builder = replace(self.builder, device=device)
        process = context.Process(target=_work, args=(builder, there), daemon=True)
        process.start()
        there.close()  # so that its end is noticed here
        return _Worker(process, here)

    def end(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()


def _work(builder: ShardBuilder, connection: Connection) -> None:
    """Main function of a worker: build, then make the shards that come in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    building = True
    try:
        steps = builder.steps()
        building = False
        connection.send(None)
        while True:
            for event in steps(connection.recv()):
                connection.send(event)
    except EOFError:  # the parent has no more work and left
        return
    except Exception as error:  # told to the parent, which stops the run with this sentence
        first = (str(error).splitlines() or [type(error).__name__])[0]
        wrong_weights = building and isinstance(error, OSError)
        connection.send(_Failed(first, wrong_weights or isinstance(error, PlanError)))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
