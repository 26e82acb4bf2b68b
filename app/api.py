"""The named endpoints that programs call: /degrade, /sample_intensity, /sweep, /all_six, /make_dataset,
/restore and /list_restorers; those of the Explore tab are in `explore_api`.

They hang on components nobody sees, because those carry types, ranges and the handling of files into the
documentation that the page and `gradio_client` show.
"""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from app import dataset, engines, explore_api, grids, restored_files, restorers, synthesis
from app.explore_views import COLUMNS
from app.refusals import in_sentences
from app.session import PREVIEW_SIDES, open_photo
from app.settings import Job, file_stem, read_job, whole_number
from gendeg_core.dataset.run import RunProgress
from gendeg_core.images import write_photo
from gendeg_core.synthesize import ENGINES
from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation, DegradationResult

KINDS = [kind.value for kind in Degradation]
GRID_TOP = 10  # columns and rows of a sweep asked for by a program


@in_sentences
def degrade(
    photo: str | None,
    degradation: str = "haze",
    mu: float = 0.2,
    sigma: float = 0.1,
    seed: int = 7,
    caption: str = "",
    engine: str = "gendeg",
    steps: int | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Degrade a photo at its own size.

    Args:
        photo: the clean photo; 8 or 16 bit, any common format.
        degradation: haze, rain, snow, motion_blur, low_light or raindrop.
        mu: strength, the mean of |degraded - clean|, 0 to 0.7.
        sigma: unevenness, the standard deviation of |degraded - clean|, 0 to 0.4.
        seed: same seed, same picture.
        caption: what the photo shows; may be empty.
        engine: gendeg (diffusion model) or simulator (physical formulas).
        steps: sampling steps of gendeg; leave out for the default of the weights.

    Returns:
        The degraded photo as a lossless PNG, and a record with mu_obtained, sigma_obtained and all settings.
    """
    job = read_job(degradation, mu, sigma, seed, caption, engine, steps)
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        for item in synthesis.render_file(_given(photo), Path(folder), job, suffix=".png"):
            if isinstance(item, synthesis.Rendered):
                yield str(item.path), item.record


@in_sentences
def sample_intensity(degradation: str = "haze", seed: int | None = None) -> tuple[float, float]:
    """Draw strength and unevenness from the published histogram of a degradation.

    Args:
        degradation: haze, rain, snow, motion_blur, low_light or raindrop.
        seed: same seed, same draw; leave out for a fresh one.

    Returns:
        mu and sigma.
    """
    return synthesis.surprise(degradation, None if seed is None else whole_number("seed", seed))


@in_sentences
def sweep(
    photo: str | None,
    degradation: str = "haze",
    seed: int = 7,
    columns: int = grids.SWEEP_COLUMNS,
    rows: int = grids.SWEEP_ROWS,
    caption: str = "",
    engine: str = "gendeg",
    steps: int | None = None,
) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """One photo over a grid of strengths (columns) and unevennesses (rows) of the published data.

    Args:
        photo: the clean photo; the pictures are made from a copy whose short side is 256 pixels.
        degradation: haze, rain, snow, motion_blur, low_light or raindrop.
        seed: shared by all pictures.
        columns: number of strengths, 1 to 10.
        rows: number of unevennesses, 1 to 10.
        caption: what the photo shows; may be empty.
        engine: gendeg or simulator.
        steps: sampling steps of gendeg; leave out for the default of the weights.

    Returns:
        PNG files row by row, smallest unevenness first, and one record per file.
    """
    columns, rows = _grid_length("columns", columns), _grid_length("rows", rows)
    jobs, _, _ = grids.sweep_jobs(read_job(degradation, 0, 0, seed, caption, engine, steps), columns, rows)
    yield from _previews(photo, jobs)


@in_sentences
def all_six(
    photo: str | None,
    mu: float = 0.2,
    sigma: float = 0.1,
    seed: int = 7,
    caption: str = "",
    engine: str = "gendeg",
    steps: int | None = None,
) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """One photo in all six degradations at the same strength and unevenness.

    Args:
        photo: the clean photo; the pictures are made from a copy whose short side is 256 pixels.
        mu: strength, 0 to 0.7.
        sigma: unevenness, 0 to 0.4.
        seed: shared by all pictures.
        caption: what the photo shows; may be empty.
        engine: gendeg or simulator.
        steps: sampling steps of gendeg; leave out for the default of the weights.

    Returns:
        Six PNG files and one record per file.
    """
    yield from _previews(photo, grids.all_six_jobs(read_job("haze", mu, sigma, seed, caption, engine, steps)))


@in_sentences
def make_dataset(
    photos: list[str] | None = None,
    degradations: list[str] = KINDS,
    engine: str = "gendeg",
    seed: int = 7,
    per_image: int | None = None,
    size: int = dataset.SIZES[0],
) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
    """Make a small data set of clean and degraded pairs, with its audit.

    Args:
        photos: at most 24 clean photos; leave out for the built-in examples.
        degradations: any of haze, rain, snow, motion_blur, low_light and raindrop.
        engine: gendeg or simulator.
        seed: same seed, same data set.
        per_image: pictures per photo, 1 to 12; leave out for one of each degradation.
        size: short side of the pictures in pixels, 256 or 512.

    Returns:
        A zip (Parquet shards, card, plan, audit), the audit report as HTML, and a record: done, total,
        rejected and, at the end, passed and the audit's checks. Until the end there is only the record.
    """
    order = dataset.read_order(photos or None, degradations, engine, seed, per_image, size)
    with dataset.temporary_folder() as folder:
        for item in dataset.make_dataset(order, Path(folder), lambda: False):
            if isinstance(item, dataset.Finished):
                checks = [asdict(check) for check in item.audit.checks]
                record = _counts(item.progress) | {"passed": item.audit.passed, "checks": checks}
                yield str(item.archive), str(item.report), record
            else:
                yield None, None, _counts(item)


@in_sentences
def restore(
    photo: str | None,
    model: str = "nafnet",
    weights: str = "gends",
    tile: int | None = None,
    clean: str | None = None,
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Restore a degraded photo at its own size.

    Args:
        photo: the degraded photo; 8 or 16 bit, any common format.
        model: nafnet, promptir or swin.
        weights: existing (trained on existing data) or gends (with GenDS added).
        tile: side of the tiles in pixels, 128 or more; 0 for one piece; leave out for what fits into memory.
        clean: the same photo without degradation, for PSNR and SSIM; may be left out.

    Returns:
        The restored photo as a lossless PNG with the depth, EXIF, colour profile and transparency of the
        photo, and a record: weights, tile, seconds and, with `clean`, psnr and ssim of the photo and of the
        restored one. Until the end there is only a record with done and total.
    """
    (choice,) = restorers.pick([f"{model}_{weights}"], restorers.shipped_choices())
    side = None if tile is None else whole_number("tile", tile)
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        for item in restored_files.restore_file(_given(photo), Path(folder), choice, tile=side, clean=clean):
            if isinstance(item, restored_files.RestoredFile):
                yield str(item.path), item.record
            else:
                yield None, {"done": item.done, "total": item.total}


@in_sentences
def list_restorers() -> list[dict[str, Any]]:
    """The restoration networks that are installed.

    Returns:
        One record each: model and weights as `/restore` takes them, and what is known of them.
    """
    return [
        {
            "model": choice.model,
            "weights": choice.weights,
            "title": choice.title,
            "badges": choice.badges,
            "about": choice.about,
        }
        for choice in restorers.shipped_choices()
    ]


def _counts(progress: RunProgress) -> dict[str, Any]:
    return {"done": progress.done, "total": progress.total, "rejected": progress.rejected}


def _previews(photo: str | None, jobs: list[Job]) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Pictures from the small copy, one job after the other; only the complete list is handed out."""
    opened = open_photo(_given(photo))
    clean = opened.copies[PREVIEW_SIDES[0]]
    paths: list[str] = []
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        for job in jobs:
            started = time.perf_counter()
            for item in engines.run_job(clean, job):
                if isinstance(item, DegradationResult):
                    record = synthesis.record_of(item, job, time.perf_counter() - started)
                    path = Path(folder) / f"{file_stem(opened.name, job.request)}.png"
                    write_photo(path, item.degraded, settings=record)
                    paths.append(str(path))
                    records.append(record)
        yield paths, records


def _given(photo: str | None) -> Path:
    if not photo:
        raise ValueError("no photo was given; pass an image file as the first argument")
    return Path(photo)


def _grid_length(name: str, value: object) -> int:
    length = whole_number(name, value)
    if not 1 <= length <= GRID_TOP:
        raise ValueError(f"{name}={length} is outside 1 to {GRID_TOP}; choose a value inside")
    return length


def add_endpoints() -> None:
    """Register the endpoints inside an open `gr.Blocks`."""
    with gr.Column(visible=False):
        photo = gr.File(label="photo", type="filepath")
        degradation = gr.Dropdown(KINDS, value="haze", label="degradation")
        mu = gr.Number(0.2, label=f"mu, 0 to {MU_MAX}")
        sigma = gr.Number(0.1, label=f"sigma, 0 to {SIGMA_MAX}")
        seed = gr.Number(7, precision=0, label="seed")
        draw_seed = gr.Number(None, precision=0, label="seed")
        caption = gr.Textbox("", label="caption")
        engine = gr.Dropdown(list(ENGINES), value="gendeg", label="engine")
        steps = gr.Number(None, precision=0, label="steps")
        columns = gr.Number(grids.SWEEP_COLUMNS, precision=0, label="columns")
        rows = gr.Number(grids.SWEEP_ROWS, precision=0, label="rows")
        picture = gr.File(label="degraded photo")
        pictures = gr.File(label="degraded photos", file_count="multiple")
        record = gr.JSON(label="record")
        records = gr.JSON(label="records")
        drawn = [gr.Number(label="mu"), gr.Number(label="sigma")]
        tail: list[Any] = [caption, engine, steps]
        _endpoint(degrade, [photo, degradation, mu, sigma, seed, *tail], [picture, record])
        _endpoint(sample_intensity, [degradation, draw_seed], drawn)
        _endpoint(sweep, [photo, degradation, seed, columns, rows, *tail], [pictures, records])
        photos = gr.File(label="photos", file_count="multiple", type="filepath")
        kinds = gr.CheckboxGroup(KINDS, value=KINDS, label="degradations")
        per_image = gr.Number(None, precision=0, label="pictures per photo")
        size = gr.Dropdown(list(dataset.SIZES), value=dataset.SIZES[0], label="short side in pixels")
        archive, report = gr.File(label="data set"), gr.File(label="audit report")
        _endpoint(all_six, [photo, mu, sigma, seed, *tail], [pictures, records])
        asked: list[Any] = [photos, kinds, engine, seed, per_image, size]
        _endpoint(make_dataset, asked, [archive, report, record], lane="dataset", limit=1)
        model = gr.Dropdown(list(restorers.MODEL_NAMES), value="nafnet", label="model")
        weights = gr.Dropdown(list(restorers.TRAINING_NAMES), value="gends", label="weights")
        tile = gr.Number(None, precision=0, label="tile")
        clean = gr.File(label="clean photo", type="filepath")
        restored = gr.File(label="restored photo")
        wanted: list[Any] = [photo, model, weights, tile, clean]
        _endpoint(restore, wanted, [restored, record], lane="restore", limit=1)
        _endpoint(list_restorers, [], [records])
        _explore_endpoints(photo, record, records)


def _explore_endpoints(photo: gr.File, record: gr.JSON, records: gr.JSON) -> None:
    files = gr.File(label="photos or shards", file_count="multiple", type="filepath")
    tables = gr.File(label="tables of embeddings", file_count="multiple", type="filepath")
    column = gr.Dropdown(list(COLUMNS), value="degradation", label="embedding")
    perplexity = gr.Number(None, label="perplexity")
    metric = gr.Dropdown(["cosine", "euclidean"], value="cosine", label="metric")
    seed = gr.Number(0, precision=0, label="seed")
    table, figure = gr.File(label="table"), gr.File(label="figure")
    asked: list[Any] = [tables, column, perplexity, metric, seed]
    _endpoint(explore_api.embed, [files], [table, records], lane="explore", limit=1)
    _endpoint(explore_api.project, asked, [table, figure, record], lane="explore", limit=1)
    _endpoint(explore_api.place, [photo], [record], lane="explore", limit=1)


def _endpoint(
    function: Any, inputs: list[Any], outputs: list[Any], *, lane: str = "api", limit: int = 2
) -> None:
    gr.Button().click(
        function, inputs, outputs, api_name=function.__name__, api_description=inspect.getdoc(function),
        concurrency_id=lane, concurrency_limit=limit,
    )  # fmt: skip
