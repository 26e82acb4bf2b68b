"""Carry out a plan: pending shards go to worker processes on this machine, or to a Ray cluster.

Whatever is killed, the next run goes on with the shards that have no marker. Two runs never share a folder.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gendeg_core.dataset.captions import photo_hash
from gendeg_core.dataset.card import data_card
from gendeg_core.dataset.engines import EngineOptions, Load, load_engines
from gendeg_core.dataset.filters import MuLimits
from gendeg_core.dataset.make import Judge, Maker, default_judge
from gendeg_core.dataset.plan import Plan, PlanError, PlanSettings, read_plan, write_plan
from gendeg_core.dataset.shards import Marker, PhotoDone, shard_rows, shard_steps, shards_done, write_json
from gendeg_core.images import ImageError
from gendeg_core.images.opening import check_decodes
from gendeg_core.images.write import write_atomically

PLAN, RUN, LOCK = "plan.parquet", "run.json", ".lock"
# One thread per worker: sums come out the same however many workers share the machine.
THREADS = 1


class RunError(RuntimeError):
    """A run cannot go on; the message is one sentence for the person who asked."""


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands.

    Args:
        done, total: items finished (made, or given up with their photo) and planned.
        rejected: how many of those made the filter refused.
        failed: photos that could not be done, with the reason.
        shards_done, shards: how many shards are finished, of how many.
        per_second: items per second of this run; 0 at its start.
        seconds_left: at that pace; None when there is no pace yet.
        finished: number of the shard that has just been finished.
    """

    done: int
    total: int
    rejected: int
    failed: dict[str, str]
    shards_done: int
    shards: int
    per_second: float = 0.0
    seconds_left: float | None = None
    finished: int | None = None


@dataclass(frozen=True)
class ShardDone:
    marker: Marker


@dataclass(frozen=True)
class Lost:
    """A worker died; what it had done of shard `shard` will be done again."""

    shard: int


Event = tuple[int, PhotoDone] | ShardDone | Lost


@dataclass(frozen=True)
class ShardBuilder:
    """Picklable; called once in each worker process, gives what makes shard k.

    Args:
        output: folder of the data set, with its plan.
        options: how the engines are loaded.
        device: for example cuda:1 or cpu; None for the best there is.
        mu_limits: of the filter, in the place of the published ones.
        load, judge: replaced in tests.
    """

    output: str
    options: EngineOptions = EngineOptions()
    device: str | None = None
    mu_limits: MuLimits = field(default_factory=dict)
    load: Load = load_engines
    judge: Callable[[], Judge] = default_judge

    def __call__(self) -> Callable[[int], None]:
        steps = self.steps()

        def make(k: int) -> None:
            for _ in steps(k):
                pass

        return make

    def steps(self) -> Callable[[int], Iterator[Event]]:
        """What makes shard k event by event.

        Raises:
            PlanError: the folder was begun with other weights, settings or code.
            OSError: the weights are missing or unreadable.
        """
        import torch

        torch.set_num_threads(THREADS)
        torch.backends.cudnn.deterministic = True
        output = Path(self.output)
        plan = read_plan(output / PLAN)
        names = set(plan.table["engine"].unique().to_pylist())
        judge, identity = self.judge(), {}
        if self.mu_limits:
            judge = functools.partial(judge, mu_limits=self.mu_limits)
            identity = {"mu limits": {name: list(ends) for name, ends in self.mu_limits.items()}}
        maker = Maker(self.load(self.options, names, self.device), judge)
        claim(output, maker.identity() | identity)
        log = _Log(output)

        def make(k: int) -> Iterator[Event]:
            steps = shard_steps(plan, k, output, maker)
            while True:
                try:
                    photo = next(steps)
                except StopIteration as end:
                    log.write(asdict(end.value))
                    yield ShardDone(end.value)
                    return
                log.write({"shard": k, **asdict(photo)})
                yield k, photo

        return make


class _Log:
    """Lines of JSON in a file of this process alone."""

    def __init__(self, output: Path) -> None:
        self.path = output / "log" / f"{platform.node()}-{os.getpid()}.jsonl"
        self.path.parent.mkdir(exist_ok=True)

    def write(self, values: dict[str, Any]) -> None:
        line = json.dumps({"time": round(time.time(), 3), **values})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def run_plan(
    plan: Plan,
    output: str | Path,
    builder: ShardBuilder | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
) -> Iterator[RunProgress]:
    """Make what is missing of `plan` in the folder `output`; yields where the run stands.

    Closing the iterator stops the workers; what finished shards hold stays.

    Args:
        builder: how workers make shards; None for the shipped weights. Its `output` is set here.
        workers: processes; None for one per GPU, or one per core on a machine without. 0 works in this
            process, one photo per step of the iterator.
        ray: address of a Ray cluster, or local; None for processes on this machine.

    Raises:
        PlanError: the folder holds another plan's data set, or was begun with other weights or code.
        RunError: another run works on the folder, or a worker cannot do its work.
    """
    output = Path(output)
    builder = replace(builder or ShardBuilder(""), output=str(output))
    with _locked(output):
        prepare(plan, output)
        remove_unfinished(output)
        pending = pending_shards(plan, output)
        tally = _Tally(plan, output, pending)
        yield tally.progress()
        if not pending:
            return
        try:
            with closing(_events(builder, pending, workers, ray)) as events:
                for event in events:
                    finished = tally.count(event)
                    yield tally.progress(finished)
        finally:
            remove_unfinished(output)  # what workers were writing when they were stopped


def _events(
    builder: ShardBuilder, pending: list[int], workers: int | None, ray: str | None
) -> Generator[Event, None, None]:
    if ray is not None:
        return _on_ray(builder, pending, ray, workers)
    if workers == 0:
        return _here(builder, pending)
    from gendeg_core.dataset.workers import events_of_workers

    return events_of_workers(builder, pending, workers)


def _here(builder: ShardBuilder, pending: list[int]) -> Generator[Event, None, None]:
    import torch

    threads = torch.get_num_threads()
    try:
        steps = builder.steps()
        for k in pending:
            yield from steps(k)
    finally:
        torch.set_num_threads(threads)


def _on_ray(
    builder: ShardBuilder, pending: list[int], address: str, workers: int | None
) -> Generator[Event, None, None]:
    from gendeg_core.dataset.ray_run import RayError, shards_on_ray

    # The workers of a cluster were started in some other folder.
    output, weights = Path(builder.output).resolve(), builder.options.weights
    options = replace(builder.options, weights=weights and str(Path(weights).resolve()))
    builder = replace(builder, output=str(output), options=options)
    try:
        for k in shards_on_ray(builder, pending, address=address, workers=workers):
            marker = shards_done(output).get(k)
            if marker is None:
                raise RunError(
                    f"a worker has made shard {k}, but it is not in {output} here; give an --output folder "
                    "that all machines of the cluster share"
                )
            yield ShardDone(marker)
    except RayError as error:
        raise RunError(str(error)) from error


def prepare(plan: Plan, output: Path) -> None:
    """Make the folder of a data set, or check that it is this plan's.

    Raises:
        PlanError: it holds something else, or was made of other photos.
    """
    path, card = output / PLAN, output / "README.md"
    stored = read_plan(path) if path.exists() else None
    if stored is not None:
        same = _without_place(stored.settings) == _without_place(plan.settings)
        if not same or not stored.table.equals(plan.table):
            raise PlanError(f"{output} holds the data set of another plan; choose another folder")
    elif output.is_dir() and any(entry.name != LOCK for entry in set(output.iterdir()) - _unfinished(output)):
        raise PlanError(f"{output} is in use by other files; choose an empty or new folder")
    moved = stored is not None and stored.settings.photos != plan.settings.photos
    if moved:
        _check_photos(plan, output)
    output.mkdir(parents=True, exist_ok=True)
    if stored is None or moved:
        write_plan(path, plan.table)
    if moved or not card.exists():
        write_atomically(card, data_card(plan).encode("utf-8"))


def _check_photos(plan: Plan, output: Path) -> None:
    """Compare a photo of every finished shard with the one of its name in the plan's folder."""
    for k in shards_done(output):
        for row in itertools.islice(shard_rows(output, k, ["photo", "photo_hash"]), 1):
            path = Path(plan.settings.photos) / row["photo"]
            if path.is_file() and photo_hash(path.read_bytes()) != row["photo_hash"]:
                raise PlanError(
                    f"{path} is not the photo that {output} was made of; name the folder with those photos"
                )


def remove_unfinished(output: Path) -> None:
    """Remove what killed workers left behind; only with the folder locked."""
    for leftover in _unfinished(output):
        leftover.unlink(missing_ok=True)


def _unfinished(output: Path) -> set[Path]:
    return {*output.glob(".*.tmp"), *output.glob("*/.*.tmp")}


def _without_place(settings: PlanSettings) -> PlanSettings:
    """The photos may have moved to another folder."""
    return replace(settings, photos="")


def claim(output: Path, identity: dict[str, Any]) -> None:
    """Write down what the data set is made with, or check that it is the same as before.

    Raises:
        PlanError: the folder was begun with something else.
    """
    path = output / RUN
    if not path.exists():
        write_json(path, identity)
    stored = json.loads(path.read_text(encoding="utf-8"))
    for name in sorted(stored.keys() | identity.keys()):
        before, now = stored.get(name), identity.get(name)
        if before != now:
            raise PlanError(
                f"{output} was begun with other {name}: {before}, now {now}; go on as before or choose "
                "another folder"
            )


def pending_shards(plan: Plan, output: Path) -> list[int]:
    """Shards without a marker, and those with photos that failed but can be read now."""
    done = shards_done(output)
    return [
        k
        for k in range(plan.shard_count)
        if k not in done or any(_readable(Path(plan.settings.photos) / name) for name in done[k].failed)
    ]


def _readable(path: Path) -> bool:
    try:
        check_decodes(path)
    except ImageError:
        return False
    return True


@dataclass
class _Tally:
    """Counts the events of a run."""

    plan: Plan
    output: Path
    pending: list[int]
    open: dict[int, list[PhotoDone]] = field(default_factory=dict)  # photos of unfinished shards
    began: float = 0.0
    made: int = 0  # items of this run

    def __post_init__(self) -> None:
        waiting = set(self.pending)
        self.done = {k: marker for k, marker in shards_done(self.output).items() if k not in waiting}
        self.began = time.perf_counter()

    def count(self, event: Event) -> int | None:
        """Take in one event; returns the number of a shard that it finishes."""
        if isinstance(event, Lost):
            self.made -= sum(photo.items for photo in self.open.pop(event.shard, []))
        elif isinstance(event, ShardDone):
            k = event.marker.shard
            seen = sum(photo.items for photo in self.open.pop(k, []))
            self.made += self.plan.shard_length(k) - seen
            self.done[k] = event.marker
            return k
        else:
            k, photo = event
            self.open.setdefault(k, []).append(photo)
            self.made += photo.items
        return None

    def progress(self, finished: int | None = None) -> RunProgress:
        seen = [photo for photos in self.open.values() for photo in photos]
        markers = self.done.values()
        done = sum(self.plan.shard_length(k) for k in self.done) + sum(photo.items for photo in seen)
        failed = {name: why for marker in markers for name, why in marker.failed.items()}
        pace = self.made / max(time.perf_counter() - self.began, 1e-6)
        return RunProgress(
            done=done,
            total=len(self.plan),
            rejected=sum(sum(m.rejected.values()) for m in markers) + sum(photo.rejected for photo in seen),
            failed=failed | {photo.photo: photo.reason for photo in seen if photo.reason},
            shards_done=len(self.done),
            shards=self.plan.shard_count,
            per_second=pace,
            seconds_left=(len(self.plan) - done) / pace if pace > 0 else None,
            finished=finished,
        )


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process, however it ends."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            warnings.warn(
                f"this system has no file locks; take care that no second run works on {output}",
                stacklevel=2,
            )
        except OSError as error:
            raise RunError(f"another run works on {output}; wait for it or stop it") from error
        yield
