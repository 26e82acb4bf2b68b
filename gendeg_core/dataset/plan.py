"""The plan of a data set: which degradation of which photo, how strong, by which engine, with which seed.

A plan is one Parquet file (schema.PLAN_COLUMNS). What it asks of an item follows from the run's seed and the
item's id; only whether an item is one of the free ones depends on its place among those of its degradation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gendeg_core.dataset.draw import draw_intensities, pick, uniforms
from gendeg_core.dataset.schema import PLAN_COLUMNS, plan_schema
from gendeg_core.images import READABLE
from gendeg_core.seeds import sample_seed
from gendeg_core.synthesize import ENGINES
from gendeg_core.types import Degradation

FEWEST_SHARDS = 32  # a small data set is cut finely, so that workers share it and a kill costs little
MOST_PHOTOS_PER_SHARD = 64


class PlanError(ValueError):
    """A plan cannot be made, read or carried out; the message is one sentence for the person who asked."""


@dataclass(frozen=True)
class PlanSettings:
    """What a plan is made from.

    Args:
        photos: folder of clean photos, searched with its subfolders.
        seed: everything random follows from it.
        per_image: degraded images per photo; None for one of each degradation. More than there are
            degradations repeats them, fewer draws which.
        degradations: those to make.
        every_nth_free: every N-th item of a degradation, starting with the first, has mu and sigma free; 0
            for none.
        only_sigma_free: those keep mu from the histogram, as the paper's text has it.
        size: short side in pixels that photos are reduced to; 0 leaves them as they are.
        engine: gendeg, simulator, or a mix such as gendeg=3,simulator=1.
        photos_per_shard: 0 for 64 at most and 32 shards at least.
    """

    photos: str
    seed: int = 0
    per_image: int | None = None
    degradations: tuple[str, ...] = tuple(d.value for d in Degradation)
    every_nth_free: int = 20
    only_sigma_free: bool = False
    size: int = 512
    engine: str = "gendeg"
    photos_per_shard: int = 0

    def __post_init__(self) -> None:
        names = tuple(dict.fromkeys(Degradation.parse(name).value for name in self.degradations))
        object.__setattr__(self, "degradations", tuple(d.value for d in Degradation if d.value in names))
        if not names:
            raise PlanError("no degradation is asked for; name at least one")
        parse_engines(self.engine)
        if self.per_image is not None and self.per_image < 1:
            raise PlanError(f"per_image={self.per_image} makes nothing; ask for 1 or more")
        for name in ("every_nth_free", "size", "photos_per_shard"):
            if getattr(self, name) < 0:
                raise PlanError(f"{name}={getattr(self, name)} is negative; use 0 or more")


@dataclass(frozen=True)
class Plan:
    """A plan in memory: its settings and its table (schema.PLAN_COLUMNS), photo by photo."""

    settings: PlanSettings
    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def photo_starts(self) -> np.ndarray:
        """(photos + 1,) row at which each photo begins, and the number of rows."""
        if not len(self):
            return np.zeros(1, np.int64)
        photo = self.table["photo"].combine_chunks()
        changes = pc.call_function("not_equal", [photo[1:], photo[:-1]]).to_numpy(zero_copy_only=False)
        return np.concatenate([[0], np.flatnonzero(changes) + 1, [len(self)]])

    @property
    def photo_count(self) -> int:
        return len(self.photo_starts) - 1

    @property
    def photos_per_shard(self) -> int:
        evenly = -(-self.photo_count // FEWEST_SHARDS)
        return self.settings.photos_per_shard or min(max(evenly, 1), MOST_PHOTOS_PER_SHARD)

    @property
    def shard_count(self) -> int:
        return -(-self.photo_count // self.photos_per_shard)

    def shard_photos(self, k: int) -> range:
        """Numbers of the photos in shard k."""
        first = k * self.photos_per_shard
        return range(first, min(first + self.photos_per_shard, self.photo_count))

    def photo_rows(self, number: int) -> list[dict[str, Any]]:
        """All rows of photo `number`, in the plan's order."""
        first, last = self.photo_starts[number : number + 2].tolist()
        return self.table.slice(first, last - first).to_pylist()

    def shard_length(self, k: int) -> int:
        """Number of items in shard k."""
        photos = self.shard_photos(k)
        return int(self.photo_starts[photos.stop] - self.photo_starts[photos.start])

    def with_engine(self, engine: str) -> Plan:
        """The same plan carried out by another engine or mix."""
        weights = parse_engines(engine)
        seeds = self.table["seed"].to_numpy().astype(np.uint64)
        place = self.table.schema.get_field_index("engine")
        column = pa.array(pick(weights, seeds), pa.string())
        settings = replace(self.settings, engine=engine)
        table = self.table.set_column(place, "engine", column)
        return Plan(settings, table.cast(plan_schema(asdict(settings))))


def parse_engines(text: str) -> dict[str, float]:
    """Engine name to weight of `gendeg`, `simulator` or a mix such as `gendeg=3,simulator=1`.

    Raises:
        PlanError: an unknown engine, or a weight that is no positive number.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in ENGINES or name in weights:
            raise PlanError(
                f"engine {text!r} is not understood; write {' or '.join(ENGINES)}, or a mix such as "
                "gendeg=3,simulator=1"
            )
        try:
            weights[name] = float(number or 1)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise PlanError(f"the weight of {name} in engine {text!r} is not a positive number; write one")
    return weights


def list_photos(folder: Path) -> list[str]:
    """Paths of all photos below `folder`, relative, with forward slashes, sorted.

    Raises:
        PlanError: no folder, no photo in it, or a name that is not valid text.
    """
    if not folder.is_dir():
        raise PlanError(f"{folder} is not a folder; give a folder of clean photos")
    found = []
    for place, _, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        here = "" if inside == "." else inside.replace(os.sep, "/") + "/"
        found += [here + name for name in files if name.lower().endswith(READABLE)]
    if not found:
        raise PlanError(f"no photo below {folder}; give a folder with {', '.join(READABLE)} files")
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise PlanError(f"the file name {name!r} is not valid text; rename the file") from None
    return sorted(found)


def make_plan(
    settings: PlanSettings,
    captions: Mapping[str, str] | None = None,
    *,
    photos: Sequence[str] | None = None,
    own: Mapping[str, Sequence[str]] | None = None,
) -> pa.Table:
    """The table of a plan.

    Args:
        captions: photo to caption; the photo's relative path counts first, then its file name.
        photos: relative paths, sorted; None lists the folder.
        own: photo (found as captions are) to the degradations that its own data set already shows; these are
            not made of it.

    Raises:
        PlanError: there is nothing to make.
    """
    photos = list_photos(Path(settings.photos)) if photos is None else photos
    counts = _counts(settings, photos, own or {})
    photo, kind, repeat = _unfold(counts)
    if not len(photo):
        raise PlanError("every photo already has every degradation asked for; ask for others")
    kinds = list(settings.degradations)
    ids = [
        f"{photos[p]}|{kinds[d]}|{r}"
        for p, d, r in zip(photo.tolist(), kind.tolist(), repeat.tolist(), strict=True)
    ]
    seeds = np.array([sample_seed(settings.seed, item) for item in ids], np.int64)
    mu, sigma = np.empty(len(ids)), np.empty(len(ids))
    dataset, free = np.empty(len(ids), object), np.zeros(len(ids), bool)
    for number, name in enumerate(kinds):
        here = np.flatnonzero(kind == number)
        if settings.every_nth_free:
            free[here[:: settings.every_nth_free]] = True
        drawn = draw_intensities(
            Degradation(name), seeds[here], free[here], only_sigma_free=settings.only_sigma_free
        )
        mu[here], sigma[here], dataset[here] = drawn.mu, drawn.sigma, drawn.dataset
    texts = [_found(captions or {}, name, "") for name in photos]
    columns = {
        "item_id": ids,
        "photo": _repeated(photos, photo),
        "caption": _repeated(texts, photo),
        "degradation": _repeated(kinds, kind),
        "mu": mu,
        "sigma": sigma,
        "sampled_dataset": dataset,
        "random_sampling": free,
        "engine": pick(parse_engines(settings.engine), seeds),
        "seed": seeds,
    }
    arrays = [pa.array(columns[name], kind) for name, kind in PLAN_COLUMNS]
    return pa.Table.from_arrays(arrays, schema=plan_schema(asdict(settings)))


def write_plan(path: Path, table: pa.Table) -> None:
    """Store a plan's table; the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)


def read_plan(path: str | Path) -> Plan:
    """The plan in `path`.

    Raises:
        PlanError: no plan there, or one that contradicts itself.
    """
    path = Path(path)
    if not path.is_file():
        raise PlanError(f"there is no plan {path}; make one with `dataset plan`")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise PlanError(f"{path} is not a plan ({str(error).splitlines()[0]}); make one anew") from error
    stored = (table.schema.metadata or {}).get(b"gendeg_plan")
    if stored is None or [(f.name, f.type) for f in table.schema] != PLAN_COLUMNS:
        raise PlanError(f"{path} is a Parquet file but no plan; make one with `dataset plan`")
    values = json.loads(stored)
    known = {field.name for field in fields(PlanSettings)}
    if set(values) != known:
        raise PlanError(f"{path} was made by another version of this program; make the plan anew")
    plan = Plan(PlanSettings(**values | {"degradations": tuple(values["degradations"])}), table)
    _check(path, plan)
    return plan


def _check(path: Path, plan: Plan) -> None:
    """Refuse plans, edited by hand perhaps, that would lose or double items."""
    if len(plan.table["item_id"].unique()) != len(plan):
        raise PlanError(f"{path} holds an item twice; every item_id must be unique")
    if len(plan.table["photo"].unique()) != plan.photo_count:
        raise PlanError(f"{path} is not sorted by photo; keep the rows of a photo together")
    for column, known in (("degradation", list(Degradation)), ("engine", ENGINES)):
        for name in plan.table[column].unique().to_pylist():
            if name not in known:
                raise PlanError(f"{path} asks for the {column} {name!r}; choose one of {', '.join(known)}")


def _counts(settings: PlanSettings, photos: Sequence[str], own: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(photos, degradations) how often each degradation of each photo is made."""
    wanted = np.ones((len(photos), len(settings.degradations)), bool)
    if own:
        for row, photo in enumerate(photos):
            present = _found(own, photo, ())
            wanted[row] = [name not in present for name in settings.degradations]
    if settings.per_image is None:
        return wanted.astype(np.int64)
    seeds = np.array([sample_seed(settings.seed, f"{photo}|which") for photo in photos], np.int64)
    lots = np.stack([uniforms(seeds, d) for d in range(wanted.shape[1])], 1)
    lots[~wanted] = 2.0  # after every real lot
    rank = lots.argsort(1).argsort(1)
    available = np.maximum(wanted.sum(1, keepdims=True), 1)
    return wanted * (settings.per_image // available + (rank < settings.per_image % available))


def _unfold(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photo, degradation and repeat of every item, (N,) each, photo by photo."""
    flat = counts.ravel()
    place = np.repeat(np.arange(flat.size), flat)
    starts = np.cumsum(flat) - flat
    repeat = np.arange(len(place)) - starts[place]
    return place // counts.shape[1], place % counts.shape[1], repeat


def _found(table: Mapping[str, Any], photo: str, default: Any) -> Any:
    return table.get(photo, table.get(photo.rpartition("/")[2], default))


def _repeated(texts: Sequence[str], places: np.ndarray) -> pa.Array:
    return pa.array(texts, pa.string()).take(pa.array(places))
