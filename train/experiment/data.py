"""What the experiment trains and tests on, made once and shared by all runs as memory-mapped pools.

existing   one simulator family per degradation, on every second training photo or as asked
gends      the generator on training photos spread over the list, as many as it takes; what the filter
           accepted comes again where the pool holds more
held       a few held-out photos under the existing families, to watch the training
within     held-out photos under the existing families
left-out   the same photos, degradations and intensities under the families that existing data lacks
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gendeg_core.dataset.engines import EngineOptions
from gendeg_core.dataset.plan import Plan, PlanSettings, make_plan, read_plan, write_plan
from gendeg_core.dataset.readers import pairs_in, parquet_files
from gendeg_core.dataset.run import RunError, ShardBuilder, run_plan
from gendeg_core.seeds import sample_seed
from gendeg_core.simulate import simulate
from gendeg_core.simulate.registry import FAMILIES
from gendeg_core.statistics import draw_intensity, to_uint8
from gendeg_core.types import Degradation, DegradationRequest
from train.common.errors import UsageError
from train.common.pairs import Pair, PairSource, SimulatedPairs, StoredPairs, make_pair
from train.common.photos import PhotoRecord, list_photos
from train.common.pool import CHUNK, COMPLETE, PairPool
from train.experiment.config import EXISTING, ExperimentConfig

KINDS = list(Degradation)
HELD_EACH = 4  # pairs per degradation to watch the training with
SEED = 0  # of all data; the seeds of the runs decide weights and order
TEST_CANDIDATES = 6


def make_data(config: ExperimentConfig) -> None:
    """Make what is missing."""
    training, tested, watched = split_photos(config)
    families = {kind: (name,) for kind, name in EXISTING.items()}
    existing = SimulatedPairs(
        training[:: config.existing_every], config.scene, uniform=0.0, families=families
    )
    _pool(config, "existing", existing, config.pairs)
    held = SimulatedPairs(watched, config.scene, uniform=0.0, families=families)
    _pool(config, "held", held, HELD_EACH * len(KINDS))
    for name, left_out in (("within", False), ("left-out", True)):
        pairs = HeldPairs(tested, config.scene, left_out)
        _pool(config, name, pairs, len(tested) * len(KINDS))
    if not (config.data / "gends" / COMPLETE).is_file():
        folder = generate(config, training)
        _pool(config, "gends", StoredPairs(pairs_in(folder), config.scene, balanced=True), config.pairs)
    print(f"gends: {generated_counts(config)}", flush=True)


def _pool(config: ExperimentConfig, name: str, source: PairSource, length: int) -> None:
    print(f"{name}: {length} pairs", flush=True)
    processes = config.jobs if length > CHUNK else 0  # a single chunk is nothing to share
    PairPool(source, SEED, length, config.data / name, processes=processes)


def split_photos(
    config: ExperimentConfig,
) -> tuple[list[PhotoRecord], list[PhotoRecord], list[PhotoRecord]]:
    """Photos to train on, to test with and, apart from both, to watch the training with."""
    training, held = (
        list_photos(config.photos, config.captions, held=held, border=config.border) for held in (False, True)
    )
    if len(held) <= config.test_photos:
        raise UsageError(
            f"test_photos={config.test_photos} leaves none of the {len(held)} held-out photos to watch the "
            "training with; lower it or give more photos"
        )
    places = set(np.linspace(0, len(held) - 1, config.test_photos).round().astype(int).tolist())
    tested = [record for place, record in enumerate(held) if place in places]
    watched = [record for place, record in enumerate(held) if place not in places]
    return training, tested, watched


def read_photo(record: PhotoRecord, size: int) -> Image.Image:
    """A photo without its border, its short side reduced to `size` or, if shorter, enlarged."""
    with Image.open(record.path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if record.border:
        image = ImageOps.crop(image, record.border)
    scale = size / min(image.size)
    width, height = (max(round(side * scale), size) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class HeldPairs(PairSource):
    """The middle squares of held-out photos, each under every degradation; pair k is photo k // 6.

    Args:
        left_out: use the families that existing data lacks, in turn; otherwise the existing one.
    """

    photos: Sequence[PhotoRecord]
    size: int
    left_out: bool

    def pair(self, seed: int, k: int) -> Pair:
        number, kind = divmod(k, len(KINDS))
        degradation, record = KINDS[kind], self.photos[number]
        rng = np.random.default_rng(sample_seed(seed, f"held {k}"))
        drawn = draw_intensity(degradation, rng)
        request = DegradationRequest(degradation, drawn.mu, drawn.sigma, int(rng.integers(2**62)), "")
        clean = _square(read_photo(record, self.size), self.size)
        family = family_of(k, self.left_out)
        made = simulate(clean, request, family=family, candidates=TEST_CANDIDATES)
        return make_pair(to_uint8(clean), to_uint8(made.degraded), kind, record.caption)


def family_of(k: int, left_out: bool) -> str:
    """The simulator family of pair k of the held photos."""
    number, kind = divmod(k, len(KINDS))
    existing = EXISTING[KINDS[kind]]
    others = [name for name in FAMILIES[KINDS[kind]] if name != existing]
    return others[number % len(others)] if left_out else existing


def _square(image: Image.Image, side: int) -> Tensor:
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def generate(config: ExperimentConfig, training: list[PhotoRecord]) -> Path:
    """Folder of the data set that the generator makes of the training photos."""
    plan_file, folder = config.data / "gends.plan", config.data / "generated"
    if not plan_file.exists():
        write_plan(plan_file, _plan(config, training))
    builder = ShardBuilder(
        str(folder), EngineOptions(None if config.generator is None else str(config.generator))
    )
    plan: Plan = read_plan(plan_file)
    try:
        for progress in run_plan(plan, folder, builder, workers=config.jobs):
            left = progress.seconds_left
            wait = "" if left is None else f", about {left / 60:.0f} min left"
            print(f"generated: {progress.done} of {progress.total}{wait}", flush=True)
    except (RunError, OSError) as error:
        raise UsageError(str(error)) from error
    return folder


def generated_counts(config: ExperimentConfig) -> dict[str, int]:
    """What the pool gends comes from: `photos` painted on, pairs `accepted` by the filter, and how many of
    these the pool holds once or more, `distinct`.

    Raises:
        UsageError: the generator's data set is gone.
    """
    folder = config.data / "generated"
    files = parquet_files(folder)
    if not files:
        raise UsageError(f"{folder} holds no generated pairs any more; remove {config.data / 'gends'}, too")
    rows = pa.concat_tables(
        pq.read_table(file, columns=["photo", "accepted", "degradation"]) for file in files
    )
    accepted = rows.filter(rows["accepted"])
    there = Counter(accepted["degradation"].to_pylist()).values()  # the pool takes turns over these
    turns, rest = divmod(config.pairs, len(there))
    distinct = sum(min(count, turns + (place < rest)) for place, count in enumerate(there))
    photos = len(set(accepted["photo"].to_pylist()))
    return {"photos": photos, "accepted": len(accepted), "distinct": distinct}


def _plan(config: ExperimentConfig, training: list[PhotoRecord]) -> pa.Table:
    """As few degradations per photo as give `pairs` of them, on photos spread over the list."""
    per_image = -(-config.pairs // len(training))
    count = -(-config.pairs // per_image)
    chosen = [training[k] for k in np.linspace(0, len(training) - 1, count).round().astype(int)]
    folder = config.data / "clean"
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, record in enumerate(chosen):
        name = f"{number:05d}-{record.path.stem}.png"
        captions[name] = record.caption
        if not (folder / name).exists():
            read_photo(record, config.scene).save(folder / ".partial.png")
            os.replace(folder / ".partial.png", folder / name)
    settings = PlanSettings(str(folder.resolve()), seed=SEED, per_image=per_image, size=0, engine="gendeg")
    return make_plan(settings, captions, photos=sorted(captions))
