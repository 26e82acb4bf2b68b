"""Make the map that the Explore tab opens with: `python -m app.shipped_map [--output assets/explore]`.

Its photos are free to pass on: squares of the two photos that come with scikit-learn, and of the scenes drawn
by this project. Three sets: the photographed squares under the simulators, the same under GenDeg, and the
drawn squares under the simulators, which look like no photo DA-CLIP was trained on.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from app import embedders, restorers
from app.examples import DRAWN, PHOTOGRAPHED, example_photos
from app.explore_sources import MAP, PICTURES, SHIPPED
from gendeg_core.embed.projection import MapSettings, project
from gendeg_core.embed.table import EmbeddingTable, write_table
from gendeg_core.restore.infer import Restored
from gendeg_core.seeds import sample_seed
from gendeg_core.statistics import draw_intensity, to_uint8
from gendeg_core.synthesize import Engine, Sampling, degrade, load_engine
from gendeg_core.types import Degradation, DegradationRequest

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 256  # of a square, in pixels of the photo
THUMB = 144  # of a stored picture
RECORD = "record.json"
NUMBERS = ("mu", "sigma", "mu_asked", "sigma_asked", "seed")  # columns of the table
NAMES = ("set", "dataset", "label", "engine", "caption", "clean", "restored")
RUN_SEED = 20
LICENCE = (
    "Made from china.jpg (danielbuechele on Flickr) and flower.jpg (vultilion on Flickr), both CC BY 2.0, as "
    "scikit-learn passes them on, cut and degraded; and from scenes drawn by this project."
)


@dataclass(frozen=True)
class Square:
    """A clean square and the set it goes to."""

    name: str
    caption: str
    pixels: Tensor  # (3, SIDE, SIDE) in [0, 1]


@dataclass(frozen=True)
class Member:
    """One degraded square of the map."""

    row: dict[str, Any]
    seen: embedders.Seen
    pictures: dict[str, bytes]  # name to WebP: itself, the clean and the restored one
    restorer: str | None  # identity of the weights that restored it


def squares(names: Sequence[str], each: int) -> list[Square]:
    """`each` squares of every example photo called one of `names`, evenly over it."""
    import torch

    found = []
    for example in example_photos():
        if example.name not in names:
            continue
        with Image.open(example.path) as opened:
            image = np.asarray(opened.convert("RGB"))
        rows = 2 if each > 1 else 1
        columns = -(-each // rows)
        for k in range(each):
            top = round((image.shape[0] - SIDE) * ((k // columns) / max(1, rows - 1)))
            left = round((image.shape[1] - SIDE) * ((k % columns) / max(1, columns - 1)))
            piece = torch.from_numpy(image[top : top + SIDE, left : left + SIDE].copy())
            found.append(
                Square(f"{example.name}{k + 1}", example.caption, piece.permute(2, 0, 1).float() / 255)
            )
    return found


def members(
    group: str, dataset: str, engine: Engine, clean: Sequence[Square], versions: int, steps: int | None
) -> Iterator[Member]:
    """Every square in all six degradations, `versions` times each, with strengths as published."""
    sampling = Sampling(steps=steps if engine.name == "gendeg" else None)
    for square in clean:
        for kind in Degradation:
            for version in range(versions):
                item = f"{square.name}_{kind}_{engine.name}{version + 1}"
                seed = sample_seed(RUN_SEED, item)
                drawn = draw_intensity(kind, np.random.default_rng(seed))
                request = DegradationRequest(kind, drawn.mu, drawn.sigma, seed, square.caption)
                result = degrade(square.pixels, request, engine, sampling)
                pictures = {item: _webp(result.degraded), f"{square.name}_clean": _webp(square.pixels)}
                restored = _restored(result.degraded)
                if restored is not None:
                    pictures[f"{item}_restored"] = _webp(restored.image)
                row = {
                    "path": item, "set": group, "dataset": dataset, "label": str(kind),
                    "mu": result.mu_obtained, "sigma": result.sigma_obtained,
                    "mu_asked": drawn.mu, "sigma_asked": drawn.sigma, "seed": seed, "engine": engine.name,
                    "caption": square.caption, "clean": f"{square.name}_clean",
                    "restored": f"{item}_restored" if restored is not None else None,
                }  # fmt: skip
                restorer = restored.weights if restored is not None else None
                yield Member(row, embedders.look(result.degraded), pictures, restorer)


def _restored(degraded: Tensor) -> Restored | None:
    """What the first installed network trained with GenDS makes of it; None without one."""
    choices = restorers.shipped_choices()
    if not choices:
        return None
    choice = next((one for one in choices if one.weights == "gends"), choices[0])
    *_, last = restorers.run(choice.model, choice.weights, degraded)
    assert isinstance(last, Restored), "a restorer yields its result last"
    return last


def _webp(pixels: Tensor) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(to_uint8(pixels)).resize((THUMB, THUMB), Image.Resampling.LANCZOS)
    picture.save(file, "WEBP", quality=80, method=6)
    return file.getvalue()


def write_bundle(folder: Path, made: Sequence[Member], record: dict[str, Any]) -> None:
    """The table with coordinates, the pictures, and how both were made."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    seen, rows = [one.seen for one in made], [one.row for one in made]
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in NUMBERS}
    columns |= {name: [row[name] for row in rows] for name in NAMES}
    table = EmbeddingTable(
        path=[row["path"] for row in rows],
        content=np.stack([one.content for one in seen]),
        degradation=np.stack([one.degradation for one in seen]),
        predicted=[one.predicted for one in seen],
        score=np.array([one.score for one in seen], np.float32),
        weights=seen[0].weights,
        **columns,
    )
    write_table(table, folder / MAP)
    *_, last = project(table.degradation, MapSettings())
    stored = pq.read_table(folder / MAP)
    for name, values in (("x", last.points[:, 0]), ("y", last.points[:, 1])):
        stored = stored.append_column(name, pa.array(values))
    pq.write_table(stored, folder / MAP, compression="zstd")
    pictures = {name: image for one in made for name, image in one.pictures.items()}
    columns = {"name": list(pictures), "image": list(pictures.values())}
    pq.write_table(pa.table(columns), folder / PICTURES, compression="none")
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def make(folder: Path, *, each: int, versions: int, steps: int | None, engines: Sequence[str]) -> int:
    """Make the bundle in `folder`; returns the number of its photos."""
    from tqdm import tqdm

    photographed = squares([name for name, _ in PHOTOGRAPHED], each)
    drawn = squares([name for name, *_ in DRAWN], each)
    groups = [
        ("photos, simulated", "scikit-learn photos", "simulator", photographed),
        ("photos, GenDeg", "scikit-learn photos", "gendeg", photographed),
        ("drawings, simulated", "drawn scenes", "simulator", drawn),
    ]
    made: list[Member] = []
    identities: dict[str, str] = {}
    for group, dataset, name, clean in groups:
        if name not in engines:
            continue
        engine = load_engine(name)
        identities[name] = engine.weights
        total = len(clean) * len(Degradation) * versions
        steps_of = members(group, dataset, engine, clean, versions, steps)
        made += tqdm(steps_of, group, total, disable=not sys.stderr.isatty(), leave=False)
    if not made:
        raise ValueError(f"no map without photos: engines are {', '.join(engines)}, squares {each}")
    record = {
        "recipe": f"python -m app.shipped_map --squares {each} --versions {versions}"
        + (f" --steps {steps}" if steps else "")
        + f" --engines {' '.join(engines)}",
        "weights": made[0].seen.weights,
        "engines": identities,
        "restorer": made[0].restorer,
        "photos": len(made),
        "licence": LICENCE,
    }
    write_bundle(folder, made, record)
    return len(made)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.shipped_map", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=SHIPPED, help="folder to write, default assets/explore")
    add("--squares", type=int, default=6, help="squares per photo, default 6")
    add("--versions", type=int, default=2, help="strengths per square and degradation, default 2")
    add("--steps", type=int, help="sampling steps of GenDeg, default those of its weights")
    add("--engines", nargs="+", default=["simulator", "gendeg"], help="default: simulator gendeg")
    given = parser.parse_args(arguments)
    try:
        count = make(
            given.output,
            each=given.squares,
            versions=given.versions,
            steps=given.steps,
            engines=given.engines,
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    size = sum(path.stat().st_size for path in given.output.iterdir()) / 1e6
    sys.stdout.write(f"{given.output}: {count} photos, {size:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
