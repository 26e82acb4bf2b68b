"""A pool of pairs on disk: made once by all cores, then read by as many epochs as the training takes.

On a CPU a simulated pair costs about as much as a training step on it. The pool is exact: entry k is pair k
of its source. Making it survives kill -9; chunks that are complete are kept.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from gendeg_core.seeds import sample_seed
from train.common.errors import UsageError
from train.common.pairs import Pair, PairSource, mirrored_layout

CHUNK = 500
IMAGES = ("clean", "degraded", "layout")  # of a pair, in this order
COMPLETE = "pool-length"  # file that is written when all chunks are there
T = TypeVar("T")


class PairPool(PairSource):
    """`length` pairs of `source` kept in `folder`; pair k of the pool is entry k modulo its length.

    The order of each pass and the flips are drawn from the seed given to `pair`.
    """

    def __init__(self, source: PairSource, seed: int, length: int, folder: Path, processes: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [(k, min(CHUNK, length - k)) for k in range(0, length, CHUNK)]
        missing = [(source, seed, k, n, folder) for k, n in chunks if not _path(folder, k).exists()]
        progress = tqdm(total=len(missing), desc="pairs, in chunks", disable=not missing)
        for _ in _run(_make, missing, processes):
            progress.update()
        progress.close()
        if not (folder / COMPLETE).exists():
            (folder / "length.tmp").write_text(str(length))
            os.replace(folder / "length.tmp", folder / COMPLETE)
        self._open(folder, length)

    @classmethod
    def stored(cls, folder: Path, count: int | None = None) -> PairPool:
        """The pool that is kept in `folder`, or its first `count` pairs.

        Raises:
            UsageError: there is no complete pool, or it is smaller.
        """
        if not (folder / COMPLETE).is_file():
            raise UsageError(f"there is no complete pool of pairs in {folder}; give a folder that holds one")
        length = int((folder / COMPLETE).read_text())
        if count is not None and not 1 <= count <= length:
            raise UsageError(f"{folder} holds {length} pairs, not {count}; ask for 1 to {length}")
        pool = cls.__new__(cls)
        pool._open(folder, count or length)
        return pool

    def _open(self, folder: Path, length: int) -> None:
        firsts = range(0, length, CHUNK)
        self.length = length
        self.chunks = [np.load(_path(folder, k), mmap_mode="r") for k in firsts]
        self.notes = [note for k in firsts for note in json.loads(_notes(folder, k).read_text())]

    def place(self, seed: int, k: int) -> tuple[int, int, bool]:
        """Where pair k is: number of the chunk, place in it, and whether it is flipped."""
        lap, place = divmod(k, self.length)
        entry = int(self._order(seed, lap)[place])
        return entry // CHUNK, entry % CHUNK, bool(sample_seed(seed, f"flip {k}") % 2)

    def pair(self, seed: int, k: int) -> Pair:
        chunk, place, flipped = self.place(seed, k)
        return self._read(chunk, place, flipped)

    def entry(self, number: int) -> Pair:
        """Entry `number` of the pool as it was made: pair `number` of its source."""
        if not 0 <= number < self.length:
            raise IndexError(f"entry {number} of {self.length}")
        return self._read(number // CHUNK, number % CHUNK, flipped=False)

    def note(self, chunk: int, place: int) -> dict[str, Any]:
        """Degradation, mu, sigma and caption of a pair, without its images."""
        return self.notes[chunk * CHUNK + place]

    def _read(self, chunk: int, place: int, flipped: bool) -> Pair:
        stored = [torch.from_numpy(image.copy()) for image in self.chunks[chunk][place]]
        images = dict(zip(IMAGES, stored, strict=False))  # only some pools hold layouts
        if flipped:
            mirrors = {"layout": mirrored_layout}
            images = {name: mirrors.get(name, _mirrored)(image) for name, image in images.items()}
        return Pair(**images, **self.note(chunk, place))  # pyright: ignore[reportArgumentType]

    def _order(self, seed: int, lap: int) -> np.ndarray:
        if getattr(self, "_lap", None) != (seed, lap):
            self._lap = (seed, lap)
            self._permutation = np.random.default_rng([seed, lap]).permutation(self.length)
        return self._permutation


def derived(
    pool: PairPool,
    folder: Path,
    make: Callable[[np.ndarray, int], np.ndarray],
    accelerator: Accelerator,
    what: str,
) -> list[np.ndarray]:
    """What `make` computes of each chunk of the pool, kept in `folder` and mapped from there.

    `make` is given the chunk, (N, 2, 3, S, S) or with layouts (N, 3, 3, S, S), and the number of its first
    pair; `what` names the work in the progress bar. The processes share it. It survives kill -9: complete
    chunks are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.npy" for number in range(len(pool.chunks))]
    ours = range(accelerator.process_index, len(paths), accelerator.num_processes)
    missing = [number for number in ours if not paths[number].exists()]
    for number in tqdm(missing, desc=f"{what}, in chunks", disable=not missing):
        temporary = paths[number].with_suffix(".tmp.npy")
        np.save(temporary, make(pool.chunks[number], number * CHUNK))
        os.replace(temporary, paths[number])
    accelerator.wait_for_everyone()
    return [np.load(path, mmap_mode="r") for path in paths]


def _run(make: Callable[[T], None], jobs: list[T], processes: int) -> Iterator[None]:
    """Do the jobs, in this process if `processes` is 0."""
    if processes == 0 or not jobs:
        yield from map(make, jobs)
        return
    # spawn: a forked child would inherit torch's thread pool in an unknown state
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as workers:
        yield from workers.imap(make, jobs)


def _images(pair: Pair) -> np.ndarray:
    """(2 or 3, 3, S, S): what `IMAGES` names, as far as the pair has it."""
    return np.stack([image.numpy() for name in IMAGES if isinstance(image := pair.get(name), Tensor)])


def _mirrored(image: Tensor) -> Tensor:
    return image.flip(-1)


def _path(folder: Path, first: int) -> Path:
    return folder / f"pairs-{first:08d}.npy"


def _notes(folder: Path, first: int) -> Path:
    return folder / f"pairs-{first:08d}.json"


def _make(job: tuple[PairSource, int, int, int, Path]) -> None:
    """Write one chunk; the array appears last, under its final name, when all of it is there."""
    source, seed, first, count, folder = job
    pairs = [source.pair(seed, first + k) for k in range(count)]
    notes = [{key: p[key] for key in ("degradation", "mu", "sigma", "caption")} for p in pairs]
    _notes(folder, first).write_text(json.dumps(notes))
    array = np.stack([_images(pair) for pair in pairs])
    temporary = _path(folder, first).with_suffix(".tmp.npy")
    np.save(temporary, array)
    os.replace(temporary, _path(folder, first))
