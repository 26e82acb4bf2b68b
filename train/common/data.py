"""From options to pairs: the sources a run draws from, and the micro-batches of each process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader, default_collate

from gendeg_core.generate.codec import PatchCodec
from gendeg_core.types import Degradation
from train.common.errors import UsageError
from train.common.latents import LatentPool
from train.common.options import RunOptions
from train.common.pairs import FolderPairs, MixedPairs, NumberedPairs, PairSource, SimulatedPairs
from train.common.photos import list_photos
from train.common.pool import PairPool


def pair_source(options: RunOptions) -> PairSource:
    """Simulators on photos and folders of pairs, mixed by weight."""
    sources: list[PairSource] = []
    weights: list[float] = []
    if options.photos is not None:
        photos = list_photos(options.photos, options.captions, border=options.border)
        sources.append(SimulatedPairs(photos, options.size))
        weights.append(options.simulated_weight)
    for option in options.pairs:
        degradation, folder, weight = parse_pairs(option)
        sources.append(FolderPairs(folder, degradation, options.size))
        weights.append(weight)
    if not sources:
        raise UsageError("nothing to train on; give --photos FOLDER, --pairs DEGRADATION=FOLDER, or both")
    if sum(weights) <= 0:
        raise UsageError("the weights of all sources are 0; give one of them a positive weight")
    return MixedPairs(sources, weights) if len(sources) > 1 else sources[0]


def held_source(options: RunOptions) -> PairSource:
    """Simulators on the held-out photos; without photos the training pairs themselves."""
    if options.photos is None:
        return pair_source(options)
    photos = list_photos(options.photos, options.captions, held=True, border=options.border)
    return SimulatedPairs(photos, options.size)


def as_batch(source: PairSource, seed: int, count: int) -> Any:
    """The first `count` pairs as one batch."""
    return default_collate([source.pair(seed, k) for k in range(count)])


def parse_pairs(option: str) -> tuple[Degradation, Path, float]:
    """The parts of DEGRADATION=FOLDER or DEGRADATION=FOLDER=WEIGHT."""
    name, *rest = option.split("=")
    if len(rest) not in (1, 2) or not rest[0]:
        raise UsageError(f"--pairs {option!r} is not DEGRADATION=FOLDER or DEGRADATION=FOLDER=WEIGHT")
    try:
        degradation, weight = Degradation.parse(name), float(rest[1]) if len(rest) == 2 else 1.0
    except ValueError as error:
        raise UsageError(f"--pairs {option!r}: {error}") from error
    if not 0 <= weight < float("inf"):
        raise UsageError(f"--pairs {option!r}: the weight must be a number from 0 up")
    return degradation, Path(rest[0]), weight


def pooled(options: RunOptions, source: PairSource, vae: Any, accelerator: Accelerator) -> PairSource:
    """`source`, kept on disk if the options say so; its latents too where a VAE costs anything."""
    if not options.pool:
        return source
    folder = options.output / "pool"
    with accelerator.main_process_first():  # which makes the pairs, while the others wait
        pool = PairPool(source, options.seed, options.pool, folder, processes=options.workers)
    return pool if vae is None or isinstance(vae, PatchCodec) else LatentPool(pool, vae, folder, accelerator)


def batches(options: RunOptions, source: PairSource, accelerator: Accelerator, first: int) -> Iterator[Any]:
    """Micro-batches of this process from optimiser step `first` on.

    Pair numbers are dealt out by (step, micro-batch, process), so that a resumed run sees the same pairs, and
    the processes together see those that one process with as many more pairs per batch would.
    """
    blocks = options.steps * options.gradient_accumulation * accelerator.num_processes
    numbers = NumberedPairs(source, options.seed, blocks * options.batch)
    ours = range(accelerator.process_index, blocks, accelerator.num_processes)
    chosen = [
        range(block * options.batch, (block + 1) * options.batch)
        for block in ours[first * options.gradient_accumulation :]
    ]
    return iter(
        DataLoader(
            numbers,
            batch_sampler=chosen,  # pyright: ignore[reportArgumentType]
            num_workers=0 if options.pool else options.workers,  # reading the pool costs next to nothing
        )
    )
