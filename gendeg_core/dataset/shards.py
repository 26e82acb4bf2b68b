"""Shards: the items of a fixed range of photos as one Parquet file that is whole or not there.

A shard is written to a temporary name, synced, renamed, and its marker comes last, so a process may be killed
at any moment. The same plan, photos and code give the same bytes: one row group per photo, no times.

    DIR/README.md  DIR/plan.parquet  DIR/run.json  DIR/data/train-00000-of-00012.parquet
    DIR/markers/train-00000-of-00012.json  DIR/log/HOST-PROCESS.jsonl
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gendeg_core.dataset.clock import MODEL, Clock
from gendeg_core.dataset.make import Maker, degrade_rows, finish_rows, read_clean
from gendeg_core.dataset.plan import Plan
from gendeg_core.dataset.schema import SHARD_COLUMNS, shard_schema

IMAGES = ("degraded.bytes", "target.bytes")
_WAITING = 3  # photos made but not yet stored; a bound on memory
_PLAIN = [name for name, kind in SHARD_COLUMNS if not pa.types.is_struct(kind)]
_PARQUET: dict[str, Any] = {
    # The target is mostly the same picture for all items of a photo: a dictionary stores it once.
    "use_dictionary": ["target.bytes"],
    "dictionary_pagesize_limit": 1 << 30,
    "compression": {**dict.fromkeys(_PLAIN, "zstd"), **dict.fromkeys(IMAGES, "none")},
    "write_statistics": _PLAIN,
}


@dataclass(frozen=True)
class PhotoDone:
    """One photo of a shard is stored, or could not be done.

    Args:
        items, rejected: how many were planned, how many of those made the filter refused.
        reason: why the photo could not be done; empty when it was.
        seconds: per stage (clock.STAGES), and `wall`, from the photo before to this one.
    """

    photo: str
    items: int
    rejected: int
    reason: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Marker:
    """What is known of a finished shard without opening it.

    Args:
        made, rejected: rows per degradation, and those the filter refused.
        failed: photo to the reason why it could not be done; its items are missing.
        size, digest: bytes of the file and their BLAKE2b-128.
    """

    shard: int
    made: dict[str, int]
    rejected: dict[str, int]
    failed: dict[str, str]
    size: int
    digest: str

    @property
    def rows(self) -> int:
        return sum(self.made.values())


def shard_name(k: int, count: int) -> str:
    return f"train-{k:05d}-of-{count:05d}"


def make_shard(
    plan: Plan,
    k: int,
    output: Path,
    maker: Maker,
    on_progress: Callable[[PhotoDone], None] | None = None,
) -> Marker:
    """Make and store shard k below `output`; a finished one is replaced by the same bytes.

    Photos that cannot be read, or not be degraded, are left out and named in the marker.
    """
    steps = shard_steps(plan, k, output, maker)
    while True:
        try:
            photo = next(steps)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(photo)


def shard_steps(plan: Plan, k: int, output: Path, maker: Maker) -> Iterator[PhotoDone]:
    """`make_shard`, photo by photo; returns the marker. Closing the iterator removes the unfinished file."""
    name = shard_name(k, plan.shard_count)
    path = output / "data" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{name}.{platform.node()}-{os.getpid()}.tmp")
    made, rejected, failed = Counter[str](), Counter[str](), {}
    try:
        with temporary.open("wb") as file:
            with pq.ParquetWriter(file, shard_schema(), **_PARQUET) as writer:
                for photo in _store_photos(plan, k, maker, writer, made, rejected):
                    if photo.reason:
                        failed[photo.photo] = photo.reason
                    yield photo
            file.flush()
            os.fsync(file.fileno())
        digest = _digest(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    marker = Marker(k, dict(sorted(made.items())), dict(sorted(rejected.items())), failed, *digest)
    write_json(output / "markers" / f"{name}.json", asdict(marker))
    return marker


def _store_photos(
    plan: Plan, k: int, maker: Maker, writer: pq.ParquetWriter, made: Counter[str], rejected: Counter[str]
) -> Iterator[PhotoDone]:
    """Make the photos of shard k in order; the engines work here, reading and encoding in other threads."""
    with (
        ThreadPoolExecutor(1, "read") as readers,
        ThreadPoolExecutor(2, "encode") as encoders,
        ThreadPoolExecutor(1, "store") as stores,
    ):
        ahead: deque[tuple[_Photo, Future[Any]]] = deque()
        stored: deque[Future[PhotoDone]] = deque()
        numbers = iter(plan.shard_photos(k))
        since = time.perf_counter()
        try:
            while True:
                while len(ahead) < 2 and (number := next(numbers, None)) is not None:
                    photo = _Photo(plan, number, maker)
                    ahead.append((photo, readers.submit(photo.read)))
                if not ahead:
                    break
                photo, reading = ahead.popleft()
                reading.result()
                photo.degrade()
                photo.wall, since = time.perf_counter() - since, time.perf_counter()
                encoding = encoders.submit(photo.finish)
                stored.append(stores.submit(_store, photo, encoding, writer, made, rejected))
                while stored and (len(stored) > _WAITING or stored[0].done()):
                    yield stored.popleft().result()
            for future in stored:
                yield future.result()
        finally:
            for future in (*(f for _, f in ahead), *stored):
                future.cancel()


class _Photo:
    """One photo on its way through the threads; each step is done by one of them at a time."""

    def __init__(self, plan: Plan, number: int, maker: Maker) -> None:
        self.plan, self.maker = plan, maker
        self.rows = plan.photo_rows(number)
        self.name = self.rows[0]["photo"]
        self.reason = ""
        # Only the engines' clock waits for the device, which meanwhile may work on another photo.
        self.engines, self.clock = maker.clock(), Clock()
        self.wall = 0.0

    def read(self) -> None:
        try:
            self.clean = read_clean(self.plan, self.name, self.clock)
        except (ValueError, OSError) as error:  # ImageError, a sentence
            # The data set may be published: its photos' folder stays private.
            self.reason = str(error).replace(f"{Path(self.plan.settings.photos)}{os.sep}", "")
        except (MemoryError, RuntimeError) as error:
            self.reason = self._too_large(error)

    def degrade(self) -> None:
        if self.reason:
            return
        try:
            self.results = degrade_rows(self.rows, self.clean, self.maker, self.engines)
        except ValueError as error:  # a picture with NaN, for example
            self.reason = f"{self.name} cannot be degraded: {error}"
        except (MemoryError, RuntimeError) as error:
            self.reason = self._too_large(error)

    def _too_large(self, error: MemoryError | RuntimeError) -> str:
        """The reason of an error that is this photo's; any other one would meet the next photo, too."""
        from gendeg_core.device import out_of_memory

        if out_of_memory(error):
            return f"{self.name} takes more memory than there is; reduce it or leave it out"
        raise RuntimeError(f"{self.name} stopped the run: {error}") from error

    def finish(self) -> list[dict[str, Any]]:
        if self.reason:
            return []
        made = finish_rows(self.rows, self.clean, self.results, self.maker, self.clock)
        del self.results, self.clean
        return made


def _store(
    photo: _Photo,
    encoding: Future[list[dict[str, Any]]],
    writer: pq.ParquetWriter,
    made: Counter[str],
    rejected: Counter[str],
) -> PhotoDone:
    rows = encoding.result()
    with photo.clock.stage("storage"):
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, shard_schema()), row_group_size=len(rows))
    refused = [row["degradation"] for row in rows if not row["accepted"]]
    made.update(row["degradation"] for row in rows)
    rejected.update(refused)
    seconds = {"wall": photo.wall, **photo.engines.seconds, **photo.clock.seconds}
    rounded = {name: round(value, 5) for name, value in seconds.items()}
    return PhotoDone(photo.name, len(photo.rows), len(refused), photo.reason, rounded)


def outside_share(seconds: dict[str, float]) -> float:
    """Share of the wall time in which no model worked, 0 to 1."""
    model = sum(seconds.get(name, 0.0) for name in MODEL)
    return max(1 - model / seconds["wall"], 0.0) if seconds.get("wall") else 0.0


def shards_done(output: Path) -> dict[int, Marker]:
    """The finished shards by number: those with a marker and a file of the size it names."""
    done = {}
    for path in sorted((output / "markers").glob("train-*.json")):
        try:
            marker = Marker(**json.loads(path.read_text(encoding="utf-8")))
            size = (output / "data" / f"{path.stem}.parquet").stat().st_size
        except (OSError, ValueError, TypeError):  # made again
            continue
        if size == marker.size:
            done[marker.shard] = marker
    return done


def iterate_rows(output: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of all finished shards in the plan's order, photo by photo; all columns or those named."""
    for k in sorted(shards_done(output)):
        yield from shard_rows(output, k, columns)


def shard_rows(output: Path, k: int, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of the finished shard k, photo by photo."""
    path = next((output / "data").glob(f"{shard_name(k, 0).rpartition('-of-')[0]}-of-*.parquet"))
    with pq.ParquetFile(path) as shard:
        for group in range(shard.num_row_groups):
            yield from shard.read_row_group(group, columns).to_pylist()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """A small file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return path.stat().st_size, digest.hexdigest()


def _sync(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
