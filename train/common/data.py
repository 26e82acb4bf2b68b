"""From options to pairs: the sources a run draws from, and the micro-batches of each process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader, default_collate

from gendeg_core.dataset.pairs import PairReader, PairsError
from gendeg_core.dataset.readers import pairs_in
from gendeg_core.generate.codec import PatchCodec
from gendeg_core.types import Degradation
from train.common.errors import UsageError
from train.common.latents import LatentPool
from train.common.options import RunOptions
from train.common.pairs import MixedPairs, Numbered, NumberedPairs, PairSource, SimulatedPairs, StoredPairs
from train.common.photos import list_photos
from train.common.pool import PairPool


def pair_source(options: RunOptions, *, balanced: bool = False, smallest: int | None = None) -> PairSource:
    """Simulators on photos and stored pairs, mixed by weight.

    Args:
        balanced: stored pairs take turns over their degradations, as simulated ones always do.
        smallest: see `StoredPairs`.
    """
    sources: list[PairSource] = []
    weights: list[float] = []
    if options.photos is not None:
        photos = list_photos(options.photos, options.captions, border=options.border)
        sources.append(SimulatedPairs(photos, options.size, parse_emphasis(options.emphasis)))
        weights.append(options.simulated_weight)
    for option in options.pairs:
        reader, weight = stored_pairs(option)
        sources.append(StoredPairs(reader, options.size, balanced, smallest))
        weights.append(weight)
    if not sources:
        raise UsageError("nothing to train on; give --photos FOLDER, --pairs PATH, or both")
    if sum(weights) <= 0:
        raise UsageError("the weights of all sources are 0; give one of them a positive weight")
    return MixedPairs(sources, weights) if len(sources) > 1 else sources[0]


def expert_source(options: RunOptions, degradation: Degradation) -> PairSource:
    """Simulations of one degradation that experts know, each with its layout."""
    assert options.photos is not None, "an expert is trained on photos"
    photos = list_photos(options.photos, options.captions, border=options.border)
    return SimulatedPairs(photos, options.size, (degradation,), layouts=True)


def stored_pairs(option: str, name: str = "--pairs") -> tuple[PairReader, float]:
    """The pairs that [DEGRADATION=]PATH[=WEIGHT] names, and their weight.

    Raises:
        UsageError: it cannot be understood or read; `name` is the option that the message names.
    """
    degradation, path, weight = parse_pairs(option, name)
    try:
        return pairs_in(path, degradation=degradation), weight
    except PairsError as error:
        raise UsageError(f"{name} {option!r}: {error}") from error


def held_source(options: RunOptions) -> PairSource:
    """Simulators on the held-out photos; without photos the training pairs themselves, in balance."""
    if options.photos is None:
        return pair_source(options, balanced=True)
    photos = list_photos(options.photos, options.captions, held=True, border=options.border)
    return SimulatedPairs(photos, options.size)


def as_batch(source: Numbered, seed: int, count: int) -> Any:
    """The first `count` pairs as one batch."""
    return default_collate([source.pair(seed, k) for k in range(count)])


def parse_pairs(option: str, name: str = "--pairs") -> tuple[Degradation | None, Path, float]:
    """The parts of [DEGRADATION=]PATH[=WEIGHT]; None for all degradations that are stored there.

    Args:
        name: of the option, for messages.
    """
    first, *rest = option.split("=")
    degradation = None
    if rest and first in list(Degradation):
        degradation, (first, *rest) = Degradation(first), rest
    if not first or len(rest) > 1:
        raise UsageError(
            f"{name} {option!r} is not PATH, PATH=WEIGHT, DEGRADATION=PATH or DEGRADATION=PATH=WEIGHT"
        )
    try:
        weight = float(rest[0]) if rest else 1.0
    except ValueError:
        known = ", ".join(Degradation)
        raise UsageError(
            f"{name} {option!r}: {rest[0]!r} is no weight, or {first!r} none of {known}"
        ) from None
    if not 0 <= weight < float("inf"):
        raise UsageError(f"{name} {option!r}: the weight must be a number from 0 up")
    return degradation, Path(first), weight


def parse_emphasis(options: Sequence[str]) -> list[Degradation]:
    """The degradations in turn, each as often as DEGRADATION=TIMES says, once without."""
    times = dict.fromkeys(Degradation, 1)
    for option in options:
        name, _, number = option.partition("=")
        if name not in list(Degradation) or not number.isdecimal():
            known = ", ".join(Degradation)
            raise UsageError(
                f"--emphasis {option!r} is not DEGRADATION=TIMES with a whole number and one of {known}"
            )
        times[Degradation(name)] = int(number)
    turns = [degradation for degradation, number in times.items() for _ in range(number)]
    if not turns:
        raise UsageError("--emphasis leaves no degradation; give one of them a number above 0")
    return turns


def pooled(options: RunOptions, source: PairSource, vae: Any, accelerator: Accelerator) -> PairSource:
    """`source`, kept on disk if the options say so; its latents too where a VAE costs anything."""
    if not options.pool:
        return source
    folder = options.output / "pool"
    with accelerator.main_process_first():  # which makes the pairs, while the others wait
        pool = PairPool(source, options.seed, options.pool, folder, processes=options.workers)
    return pool if vae is None or isinstance(vae, PatchCodec) else LatentPool(pool, vae, folder, accelerator)


def batches(options: RunOptions, source: Numbered, accelerator: Accelerator, first: int) -> Iterator[Any]:
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
